// Which state of the source this program was built from.
#pragma once

namespace ov {

// The commit's first 12 hex digits, "-changed" added when files differed from it; "unknown" when it was not built in a
// git checkout of its own. The Makefile gives it to this one object file.
const char* revision();

// "g++ 12.2.0": what compiled it.
const char* compiler();

}  // namespace ov
