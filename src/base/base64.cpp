#include "base/base64.h"

#include <array>
#include <cstdint>

#include "base/error.h"

namespace ov {
namespace {
constexpr std::string_view base64_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = i; k < i + 3; ++k)
      bits = bits << 8 | (k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? base64_letters[bits >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string from_base64(std::string_view text) {
  static const std::array<signed char, 256> value = [] {
    std::array<signed char, 256> v;
    v.fill(-1);
    for (std::size_t i = 0; i < base64_letters.size(); ++i)
      v[static_cast<unsigned char>(base64_letters[i])] = static_cast<signed char>(i);
    return v;
  }();
  for (int i = 0;
       i < 2 && !text.empty() && text.back() == '=' && text.size() % 4 == static_cast<std::size_t>(i ? 3 : 0); ++i)
    text.remove_suffix(1);
  if (text.size() % 4 == 1) input_error("base64 of ", text.size(), " characters: it is cut off");
  std::string out;
  out.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int v = value[static_cast<unsigned char>(text[i])];
    if (v < 0) input_error("base64: character ", i + 1, " is none of its alphabet");
    bits = bits << 6 | static_cast<std::uint32_t>(v);
    if (i % 4) out += static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xff);
  }
  return out;
}

}  // namespace ov
