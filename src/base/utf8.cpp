#include "base/utf8.h"

#include <algorithm>

#include "base/error.h"

namespace ov {
namespace {

constexpr char32_t replacement = 0xFFFD;

// The length of the sequence that `lead` opens and the range its second byte must lie in (table 3-7); 0: no lead
// byte.
struct Lead {
  int length;
  unsigned char second_min, second_max;
};

Lead lead_of(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  return {0, 0, 0};
}

}  // namespace

char32_t next_code_point(std::string_view s, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  const Lead lead = lead_of(first);
  if (lead.length == 0) return replacement;
  char32_t code = first & (0xFF >> (lead.length + 1));
  for (int k = 1; k < lead.length; ++k) {
    const unsigned char low = k == 1 ? lead.second_min : 0x80, high = k == 1 ? lead.second_max : 0xBF;
    if (at >= s.size() || byte(at) < low || byte(at) > high) return replacement;
    code = code << 6 | (byte(at++) & 0x3F);
  }
  return code;
}

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
}

std::string valid_utf8(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (std::size_t at = 0; at < s.size();) append_utf8(out, next_code_point(s, at));
  return out;
}

bool is_ascii(std::string_view s) {
  return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::size_t utf8_prefix(std::string_view s) {
  for (std::size_t at = 0, next = 0; at < s.size(); at = next)
    if (next_code_point(s, next) == replacement && s.substr(at, 3) != "\xEF\xBF\xBD") return at;
  return s.size();
}

void require_utf8(std::string_view s, const std::string& where) {
  const std::size_t at = utf8_prefix(s);
  if (at == s.size()) return;
  const bool utf16 = s.starts_with("\xFF\xFE") || s.starts_with("\xFE\xFF");
  input_error(where, ": byte ", at, " (line ",
              1 + std::count(s.begin(), s.begin() + static_cast<std::ptrdiff_t>(at), '\n'),
              "): not UTF-8; the text looks like ", utf16 ? "UTF-16" : "Latin-1 or damaged data", ", convert it first");
}

}  // namespace ov
