// Text as Python's str sees it: code points, and the properties that the reference's verifiers ask for. The tables are
// libutf8proc's; what it lacks (letters whose upper case is several letters, the final sigma) stands in the .cpp.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ov::rl {

using Text = std::u32string;
using TextView = std::u32string_view;

Text decode(std::string_view utf8);  // broken bytes become U+FFFD
std::string encode(TextView text);

bool is_space(char32_t c);  // str.isspace(), and \s of a pattern
bool is_digit(char32_t c);  // \d: a decimal digit of any script
bool is_word(char32_t c);   // \w: letters, numbers, _
int digit_value(char32_t c);

Text lower(TextView text);                                   // str.lower()
Text upper(TextView text);                                   // str.upper()
TextView strip(TextView text);                               // str.strip()
TextView strip(TextView text, TextView characters);          // str.strip(characters)
Text collapse(TextView text);                                // " ".join(text.split())
bool contains(TextView text, TextView part);                 // part in text
std::size_t count(TextView text, TextView part);             // text.count(part)
Text replaced(TextView text, TextView part, TextView with);  // text.replace(part, with)
std::vector<TextView> split(TextView text, char32_t at);     // text.split(at)
std::string ascii(TextView text);  // decimal digits of any script as 0 to 9, the rest as UTF-8

}  // namespace ov::rl
