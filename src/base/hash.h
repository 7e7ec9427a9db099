// Hashes that are not cryptographic: a mixer, a string hash, and the checksum of arrays that run.jsonl carries.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace ov {

// The finaliser of splitmix64 (Steele, Lea, Flood 2014; Stafford's variant 13): a bijection on 64 bits.
constexpr std::uint64_t mix64(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Of an (index, value) pair. The golden-ratio offset keeps (0, 0) from giving 0.
constexpr std::uint64_t mix64(std::uint64_t index, std::uint64_t value) {
  return mix64(mix64(index + 0x9e3779b97f4a7c15u) + value);
}

// FNV-1a, 64 bits. Pass a previous result as `hash` to go on.
constexpr std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325u) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Σ_i mix64(first + i, bits of p[i]) mod 2^64. A sum, so parts of an array (shards, threads) add up in any order to
// the checksum of the whole when each passes the global index of its first element.
template <class T>
std::uint64_t checksum(const T* p, std::int64_t n, std::uint64_t first = 0) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, p + i, sizeof(T));
    sum += mix64(first + static_cast<std::uint64_t>(i), bits);
  }
  return sum;
}

inline std::string hex16(std::uint64_t value) {
  std::string digits(16, '0');
  for (auto d = digits.rbegin(); value; ++d, value >>= 4) *d = "0123456789abcdef"[value & 15];
  return digits;
}

}  // namespace ov
