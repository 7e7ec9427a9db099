#include "text/python.h"

#include <utf8proc.h>

#include <algorithm>
#include <unordered_map>

#include "base/utf8.h"

namespace ov::python {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
char32_t simple_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }

// Cased and Case_Ignorable of Unicode 3.13, as far as the rule of the final sigma needs them.
bool is_cased(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT || c == 0xAA ||
         c == 0xBA || (c >= 0x2160 && c < 0x2180) || (c >= 0x24B6 && c < 0x24EA);
}
bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default:
      return View(U"'.:\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a").find(c) !=
             View::npos;
  }
}
bool final_sigma(View text, std::size_t at) {
  std::size_t before = at, after = at + 1;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

// SpecialCasing.txt of Unicode: a letter, then its upper case of several letters.
const std::unordered_map<char32_t, Text>& long_upper() {
  static const std::unordered_map<char32_t, Text> table = [] {
    std::unordered_map<char32_t, Text> t;
    for (const Text& entry :
         split(U"ßSS ŉʼN ǰJ̌ ΐΪ́ ΰΫ́ ևԵՒ ẖH̱ ẗT̈ ẘW̊ ẙY̊ ẚAʾ ὐΥ̓ ὒΥ̓̀ ὔΥ̓́ ὖΥ̓͂ ᾀἈΙ ᾁἉΙ ᾂἊΙ ᾃἋΙ ᾄἌΙ ᾅἍΙ "
               U"ᾆἎΙ ᾇἏΙ ᾈἈΙ ᾉἉΙ ᾊἊΙ ᾋἋΙ ᾌἌΙ ᾍἍΙ ᾎἎΙ ᾏἏΙ ᾐἨΙ ᾑἩΙ ᾒἪΙ ᾓἫΙ ᾔἬΙ ᾕἭΙ ᾖἮΙ ᾗἯΙ ᾘἨΙ ᾙἩΙ ᾚἪΙ ᾛἫΙ "
               U"ᾜἬΙ ᾝἭΙ ᾞἮΙ ᾟἯΙ ᾠὨΙ ᾡὩΙ ᾢὪΙ ᾣὫΙ ᾤὬΙ ᾥὭΙ ᾦὮΙ ᾧὯΙ ᾨὨΙ ᾩὩΙ ᾪὪΙ ᾫὫΙ ᾬὬΙ ᾭὭΙ ᾮὮΙ ᾯὯΙ ᾲᾺΙ ᾳΑΙ "
               U"ᾴΆΙ ᾶΑ͂ ᾷΑ͂Ι ᾼΑΙ ῂῊΙ ῃΗΙ ῄΉΙ ῆΗ͂ ῇΗ͂Ι ῌΗΙ ῒΪ̀ ΐΪ́ ῖΙ͂ ῗΪ͂ ῢΫ̀ ΰΫ́ ῤΡ̓ ῦΥ͂ ῧΫ͂ ῲῺΙ ῳΩΙ ῴΏΙ "
               U"ῶΩ͂ ῷΩ͂Ι ῼΩΙ ﬀFF ﬁFI ﬂFL ﬃFFI ﬄFFL ﬅST ﬆST ﬓՄՆ ﬔՄԵ ﬕՄԻ ﬖՎՆ ﬗՄԽ",
               U" "))
      t.emplace(entry[0], entry.substr(1));
    return t;
  }();
  return table;
}

}  // namespace

Text text(std::string_view utf8) {
  Text out;
  for (std::size_t at = 0; at < utf8.size();) out += next_code_point(utf8, at);
  return out;
}
std::string utf8(View text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) {
  if (c < 128) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || category(c) == UTF8PROC_CATEGORY_ZS || c == 0x2028 || c == 0x2029;
}
bool is_digit(char32_t c) { return c < 128 ? c >= '0' && c <= '9' : category(c) == UTF8PROC_CATEGORY_ND; }
bool is_alpha(char32_t c) { return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LO; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_word(char32_t c) {
  return c == '_' || is_alpha(c) || is_digit(c) || category(c) == UTF8PROC_CATEGORY_NL ||
         category(c) == UTF8PROC_CATEGORY_NO;
}

// Digits of every script lie in runs of ten (or several tens) that begin with zero.
int digit_value(char32_t c) {
  char32_t first = c;
  while (first > 0 && is_digit(first - 1)) --first;
  return static_cast<int>((c - first) % 10);
}

Text lower(View text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 0x130) out += U"i\u0307";
    else if (text[i] == 0x3A3) out += final_sigma(text, i) ? U'\u03c2' : U'\u03c3';
    else out += simple_lower(text[i]);
  }
  return out;
}
Text capitalize(View text) {
  if (text.empty()) return {};
  const Text all = lower(text);
  const std::size_t first = text[0] == 0x130 ? 2 : 1;  // code points that the first one became
  if (text[0] == 0xDF) return U"Ss" + all.substr(first);
  return Text(1, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(text[0])))) + all.substr(first);
}

Text upper(View text) {
  Text out;
  for (const char32_t c : text)
    if (const auto it = long_upper().find(c); c >= 0x80 && it != long_upper().end()) out += it->second;
    else out += static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
  return out;
}

View trim(View text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}
View trim(View text, View characters) {
  const auto first = text.find_first_not_of(characters);
  return first == View::npos ? View() : text.substr(first, text.find_last_not_of(characters) + 1 - first);
}
Text strip(View text) { return Text(trim(text)); }
Text strip(View text, View characters) { return Text(trim(text, characters)); }
Text lstrip(View text, View characters) {
  const std::size_t begin = text.find_first_not_of(characters);
  return begin == View::npos ? Text() : Text(text.substr(begin));
}
Text rstrip(View text, View characters) { return Text(text.substr(0, text.find_last_not_of(characters) + 1)); }

std::vector<Text> split(View text) {
  std::vector<Text> parts;
  for (std::size_t i = 0; i < text.size();) {
    while (i < text.size() && is_space(text[i])) ++i;
    const std::size_t begin = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    if (i > begin) parts.emplace_back(text.substr(begin, i - begin));
  }
  return parts;
}
std::vector<Text> split(View text, View part) {
  std::vector<Text> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(part, begin);
    parts.emplace_back(text.substr(begin, end - begin));
    if (end == View::npos) return parts;
    begin = end + part.size();
  }
}
Text join(View between, const std::vector<Text>& parts) {
  Text out;
  for (std::size_t i = 0; i < parts.size(); ++i) (out += i ? between : View()) += parts[i];
  return out;
}
Text replace(View text, View from, View to) { return join(to, split(text, from)); }

Text collapse(View text) { return join(U" ", split(text)); }

std::size_t count(View text, View part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != View::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

std::vector<View> fields(View text, char32_t at) {
  std::vector<View> out;
  for (;;) {
    const auto end = text.find(at);
    out.push_back(text.substr(0, end));
    if (end == View::npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::string ascii(View text) {
  std::string out;
  for (const char32_t c : text)
    if (is_digit(c)) out += static_cast<char>('0' + digit_value(c));
    else append_utf8(out, c);
  return out;
}

}  // namespace ov::python
