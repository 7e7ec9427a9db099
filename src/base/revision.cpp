#include "base/revision.h"

#ifndef OV_REVISION
#define OV_REVISION "unknown"
#endif

namespace ov {

const char* revision() { return OV_REVISION; }

#ifdef __clang__
const char* compiler() { return "clang++ " __clang_version__; }
#else
const char* compiler() { return "g++ " __VERSION__; }
#endif

}  // namespace ov
