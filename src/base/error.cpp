#include "base/error.h"

#include "base/text.h"

namespace ov {

Error::Error(Exit exit, const std::string& message)
    : std::runtime_error(shown(message, longest_message)), exit_(exit) {}

}  // namespace ov
