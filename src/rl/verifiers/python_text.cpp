#include "rl/verifiers/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <unordered_map>

#include "base/utf8.h"

namespace ov::rl {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool cased(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}
// What stands between the letters of a word without parting them (Unicode 15, 3.13, Case_Ignorable).
bool case_ignorable(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || contains(U"'.:·’‘․﹒", TextView(&c, 1));
}

// SpecialCasing.txt of Unicode: a letter, then its upper case of several letters.
const std::unordered_map<char32_t, Text>& long_upper() {
  static const std::unordered_map<char32_t, Text> table = [] {
    std::unordered_map<char32_t, Text> t;
    for (const TextView entry :
         split(U"ßSS ŉʼN ǰJ̌ ΐΪ́ ΰΫ́ ևԵՒ ẖH̱ ẗT̈ ẘW̊ ẙY̊ ẚAʾ ὐΥ̓ ὒΥ̓̀ ὔΥ̓́ ὖΥ̓͂ ᾀἈΙ ᾁἉΙ ᾂἊΙ ᾃἋΙ ᾄἌΙ ᾅἍΙ "
               U"ᾆἎΙ ᾇἏΙ ᾈἈΙ ᾉἉΙ ᾊἊΙ ᾋἋΙ ᾌἌΙ ᾍἍΙ ᾎἎΙ ᾏἏΙ ᾐἨΙ ᾑἩΙ ᾒἪΙ ᾓἫΙ ᾔἬΙ ᾕἭΙ ᾖἮΙ ᾗἯΙ ᾘἨΙ ᾙἩΙ ᾚἪΙ ᾛἫΙ "
               U"ᾜἬΙ ᾝἭΙ ᾞἮΙ ᾟἯΙ ᾠὨΙ ᾡὩΙ ᾢὪΙ ᾣὫΙ ᾤὬΙ ᾥὭΙ ᾦὮΙ ᾧὯΙ ᾨὨΙ ᾩὩΙ ᾪὪΙ ᾫὫΙ ᾬὬΙ ᾭὭΙ ᾮὮΙ ᾯὯΙ ᾲᾺΙ ᾳΑΙ "
               U"ᾴΆΙ ᾶΑ͂ ᾷΑ͂Ι ᾼΑΙ ῂῊΙ ῃΗΙ ῄΉΙ ῆΗ͂ ῇΗ͂Ι ῌΗΙ ῒΪ̀ ΐΪ́ ῖΙ͂ ῗΪ͂ ῢΫ̀ ΰΫ́ ῤΡ̓ ῦΥ͂ ῧΫ͂ ῲῺΙ ῳΩΙ ῴΏΙ "
               U"ῶΩ͂ ῷΩ͂Ι ῼΩΙ ﬀFF ﬁFI ﬂFL ﬃFFI ﬄFFL ﬅST ﬆST ﬓՄՆ ﬔՄԵ ﬕՄԻ ﬖՎՆ ﬗՄԽ",
               U' '))
      t.emplace(entry[0], Text(entry.substr(1)));
    return t;
  }();
  return table;
}

}  // namespace

Text decode(std::string_view utf8) {
  Text out;
  for (std::size_t at = 0; at < utf8.size();) out.push_back(next_code_point(utf8, at));
  return out;
}

std::string encode(TextView text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_digit(char32_t c) { return c < 128 ? c >= '0' && c <= '9' : category(c) == UTF8PROC_CATEGORY_ND; }

bool is_word(char32_t c) {
  const auto k = category(c);
  return c == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || k == UTF8PROC_CATEGORY_ND ||
         k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

int digit_value(char32_t c) {  // the digits of a script lie side by side, ten of them from its zero
  int from_start = 0;
  while (is_digit(c - 1 - static_cast<char32_t>(from_start))) ++from_start;
  return from_start % 10;
}

Text lower(TextView text) {
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == U'İ') out += U"i\u0307";
    else if (text[i] == U'Σ') {  // ς at the end of a word, σ elsewhere
      auto before = i, after = i + 1;
      while (before > 0 && case_ignorable(text[before - 1])) --before;
      while (after < text.size() && case_ignorable(text[after])) ++after;
      const bool ends = before > 0 && cased(text[before - 1]) && (after == text.size() || !cased(text[after]));
      out += ends ? U'ς' : U'σ';
    } else out += static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(text[i])));
  }
  return out;
}

Text upper(TextView text) {
  Text out;
  for (const char32_t c : text)
    if (const auto it = long_upper().find(c); c >= 0x80 && it != long_upper().end()) out += it->second;
    else out += static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
  return out;
}

TextView strip(TextView t) {
  while (!t.empty() && is_space(t.front())) t.remove_prefix(1);
  while (!t.empty() && is_space(t.back())) t.remove_suffix(1);
  return t;
}

TextView strip(TextView t, TextView characters) {
  const auto first = t.find_first_not_of(characters);
  return first == t.npos ? TextView() : t.substr(first, t.find_last_not_of(characters) + 1 - first);
}

Text collapse(TextView text) {
  Text out;
  for (const char32_t c : strip(text))
    if (!is_space(c)) out += c;
    else if (out.back() != U' ') out += U' ';
  return out;
}

bool contains(TextView text, TextView part) { return text.find(part) != text.npos; }

std::size_t count(TextView text, TextView part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

Text replaced(TextView text, TextView part, TextView with) {
  Text out;
  for (;;) {
    const auto at = text.find(part);
    out += text.substr(0, at);
    if (at == text.npos) return out;
    out += with;
    text.remove_prefix(at + part.size());
  }
}

std::vector<TextView> split(TextView text, char32_t at) {
  std::vector<TextView> out;
  for (;;) {
    const auto end = text.find(at);
    out.push_back(text.substr(0, end));
    if (end == text.npos) return out;
    text.remove_prefix(end + 1);
  }
}

std::string ascii(TextView text) {
  std::string out;
  for (const char32_t c : text)
    if (is_digit(c)) out += static_cast<char>('0' + digit_value(c));
    else append_utf8(out, c);
  return out;
}

}  // namespace ov::rl
