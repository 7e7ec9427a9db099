// The page at /: for people, in the binary, without a foreign script.
#pragma once

namespace ov::serve {

extern const char page[];

}  // namespace ov::serve
