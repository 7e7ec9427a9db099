// Bytes as text, RFC 4648 section 4.
#pragma once
#include <string>
#include <string_view>

namespace ov {

std::string to_base64(std::string_view bytes);
// Padding may be missing. Throws input_error: a character of another alphabet, a text that is cut off.
std::string from_base64(std::string_view text);

}  // namespace ov
