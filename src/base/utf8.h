// UTF-8, read the way Python's bytes.decode("utf-8", errors="replace") reads it: each maximal part of a broken
// sequence becomes one U+FFFD (Unicode 15, 3.9, table 3-7; the practice that WHATWG requires too).
#pragma once
#include <string>
#include <string_view>

namespace ov {

// The code point that starts at s[at] (at < s.size()); `at` moves past it. Broken bytes give U+FFFD.
char32_t next_code_point(std::string_view s, std::size_t& at);

void append_utf8(std::string& out, char32_t code_point);

// The same text with every broken sequence replaced by U+FFFD.
std::string valid_utf8(std::string_view s);

bool is_ascii(std::string_view s);

// How many bytes from the start are valid UTF-8: s.size() when all are.
std::size_t utf8_prefix(std::string_view s);

// Throws input_error "where: byte N (line L): ..." when the text holds bytes that are no UTF-8. What is learnt or
// trained on is checked with this: a replaced character would be learnt as U+FFFD, without a word.
void require_utf8(std::string_view s, const std::string& where);

}  // namespace ov
