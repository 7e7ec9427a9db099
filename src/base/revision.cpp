#include "base/revision.h"

#ifndef OV_REVISION
#define OV_REVISION "unknown"
#endif

namespace ov {

const char* revision() { return OV_REVISION; }

}  // namespace ov
