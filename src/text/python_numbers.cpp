#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "text/python.h"

namespace ov::python {
namespace {

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
