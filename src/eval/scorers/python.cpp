#include "eval/scorers/python.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/utf8.h"

namespace ov::python {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool is_digit(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
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

// Digits of every script lie in runs of ten (or several tens) that begin with zero.
int digit_value(char32_t c) {
  char32_t first = c;
  while (first > 0 && is_digit(first - 1)) --first;
  return static_cast<int>((c - first) % 10);
}

// What float() and int() read: white space stripped, digits as ASCII. Only ASCII's own six blanks count below 128.
std::string ascii_number(View text) {
  std::string out;
  for (const char32_t c : text) {
    if (c < 128) out += static_cast<char>(c);
    else if (is_space(c)) out += ' ';
    else out += is_digit(c) ? static_cast<char>('0' + digit_value(c)) : '?';
  }
  const auto begin = out.find_first_not_of(" \t\n\v\f\r");
  if (begin == out.npos) return "";
  return out.substr(begin, out.find_last_not_of(" \t\n\v\f\r") - begin + 1);
}

bool decimal(char c) { return c >= '0' && c <= '9'; }

// Takes underscores out; false unless each stands between two digits.
bool without_underscores(std::string& s) {
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') out += s[i];
    else if (i == 0 || i + 1 == s.size() || !decimal(s[i - 1]) || !decimal(s[i + 1])) return false;
  }
  s = out;
  return true;
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
bool is_alpha(char32_t c) { return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LO; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }

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
  static const std::pair<char32_t, View> ascii[] = {
      {0xDF, U"SS"},        {0x149, U"\u02bcN"},  {0x1F0, U"J\u030c"},  {0x1E96, U"H\u0331"}, {0x1E97, U"T\u0308"},
      {0x1E98, U"W\u030a"}, {0x1E99, U"Y\u030a"}, {0x1E9A, U"A\u02be"}, {0xFB00, U"FF"},      {0xFB01, U"FI"},
      {0xFB02, U"FL"},      {0xFB03, U"FFI"},     {0xFB04, U"FFL"},     {0xFB05, U"ST"},      {0xFB06, U"ST"}};
  Text out;
  for (const char32_t c : text) {
    const auto* own = std::find_if(std::begin(ascii), std::end(ascii), [c](const auto& a) { return a.first == c; });
    if (own != std::end(ascii)) out += own->second;
    else out += static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
  }
  return out;
}

std::size_t upper_length(View text) {
  struct Range {
    char32_t first, last;
    std::size_t length;
  };
  // SpecialCasing.txt: what becomes more than one code point.
  static constexpr Range longer[] = {
      {0xDF, 0xDF, 2},     {0x149, 0x149, 2},   {0x1F0, 0x1F0, 2},   {0x390, 0x390, 3},   {0x3B0, 0x3B0, 3},
      {0x587, 0x587, 2},   {0x1E96, 0x1E9A, 2}, {0x1F50, 0x1F50, 2}, {0x1F52, 0x1F52, 3}, {0x1F54, 0x1F54, 3},
      {0x1F56, 0x1F56, 3}, {0x1F80, 0x1FAF, 2}, {0x1FB2, 0x1FB4, 2}, {0x1FB6, 0x1FB6, 2}, {0x1FB7, 0x1FB7, 3},
      {0x1FBC, 0x1FBC, 2}, {0x1FC2, 0x1FC4, 2}, {0x1FC6, 0x1FC6, 2}, {0x1FC7, 0x1FC7, 3}, {0x1FCC, 0x1FCC, 2},
      {0x1FD2, 0x1FD3, 3}, {0x1FD6, 0x1FD6, 2}, {0x1FD7, 0x1FD7, 3}, {0x1FE2, 0x1FE3, 3}, {0x1FE4, 0x1FE4, 2},
      {0x1FE6, 0x1FE6, 2}, {0x1FE7, 0x1FE7, 3}, {0x1FF2, 0x1FF4, 2}, {0x1FF6, 0x1FF6, 2}, {0x1FF7, 0x1FF7, 3},
      {0x1FFC, 0x1FFC, 2}, {0xFB00, 0xFB02, 2}, {0xFB03, 0xFB04, 3}, {0xFB05, 0xFB06, 2}, {0xFB13, 0xFB17, 2}};
  std::size_t length = 0;
  for (const char32_t c : text) {
    std::size_t own = 1;
    for (const Range& r : longer)
      if (c >= r.first && c <= r.last) own = r.length;
    length += own;
  }
  return length;
}

Text strip(View text) {
  std::size_t begin = 0, end = text.size();
  while (begin < end && is_space(text[begin])) ++begin;
  while (end > begin && is_space(text[end - 1])) --end;
  return Text(text.substr(begin, end - begin));
}
Text lstrip(View text, View characters) {
  const std::size_t begin = text.find_first_not_of(characters);
  return begin == View::npos ? Text() : Text(text.substr(begin));
}
Text rstrip(View text, View characters) { return Text(text.substr(0, text.find_last_not_of(characters) + 1)); }
Text strip(View text, View characters) { return rstrip(lstrip(text, characters), characters); }

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

std::optional<double> to_float(View text) {
  std::string s = ascii_number(text);
  if (!without_underscores(s)) return {};
  const bool negative = !s.empty() && s[0] == '-';
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.erase(0, 1);
  std::string word = s;
  for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  double value = 0;
  if (word == "inf" || word == "infinity") value = INFINITY;
  else if (word == "nan") value = NAN;
  else {
    std::size_t i = 0, digits = 0;
    const auto run = [&] {
      for (digits = 0; i < s.size() && decimal(s[i]); ++i) ++digits;
      return digits;
    };
    std::size_t whole = run();
    if (i < s.size() && s[i] == '.') ++i, whole += run();
    if (whole == 0) return {};
    if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
      ++i;
      if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
      if (run() == 0) return {};
    }
    if (i != s.size()) return {};
    value = std::strtod(s.c_str(), nullptr);  // the grammar is checked: no hexadecimal; overflow is inf, as in Python
  }
  return negative ? -value : value;
}

std::optional<Text> to_int(View text) {
  std::string s = ascii_number(text);
  if (!without_underscores(s)) return {};
  const bool negative = !s.empty() && s[0] == '-';
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.erase(0, 1);
  if (s.empty() || !std::all_of(s.begin(), s.end(), decimal)) return {};
  if (s.size() > 4300) return {};  // sys.get_int_max_str_digits()
  s.erase(0, std::min(s.find_first_not_of('0'), s.size() - 1));
  return python::text(negative && s != "0" ? "-" + s : s);
}

Text int_text(double whole) {
  std::string digits(400, '\0');
  digits.resize(static_cast<std::size_t>(std::snprintf(digits.data(), digits.size(), "%.0f", std::trunc(whole))));
  return text(digits == "-0" ? "0" : digits);
}

std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[32];
  const auto scientific = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string s(buffer, scientific.ptr);
  const std::size_t e = s.find('e');
  const int exponent = std::stoi(s.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return s;  // "1e+16", "1.5e-05": the same form
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  return out.find('.') == out.npos ? out + ".0" : out;
}

double round(double value, int digits) {
  if (!std::isfinite(value)) return value;
  std::string out(400, '\0');
  std::snprintf(out.data(), out.size(), "%.*f", std::clamp(digits, 0, 330), value);  // glibc rounds the exact value
  return std::strtod(out.c_str(), nullptr);
}

}  // namespace ov::python
