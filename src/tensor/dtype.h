// Element types. bf16 exists as storage; arithmetic on it widens to f32.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ov {

enum class Dtype : std::uint8_t { f64, f32, bf16, i64, i32, u8 };

struct Bf16 {
  std::uint16_t bits;
};

inline float to_f32(Bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

// Round to nearest, ties to even; NaN stays NaN.
inline Bf16 to_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<std::uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16)};
}

constexpr std::size_t size_of(Dtype d) {
  switch (d) {
    case Dtype::f64:
    case Dtype::i64: return 8;
    case Dtype::f32:
    case Dtype::i32: return 4;
    case Dtype::bf16: return 2;
    case Dtype::u8: break;
  }
  return 1;
}

constexpr const char* name_of(Dtype d) {
  switch (d) {
    case Dtype::f64: return "f64";
    case Dtype::f32: return "f32";
    case Dtype::bf16: return "bf16";
    case Dtype::i64: return "i64";
    case Dtype::i32: return "i32";
    case Dtype::u8: break;
  }
  return "u8";
}

// What sums, statistics and weight gradients of this type are kept in.
constexpr Dtype accum_dtype(Dtype d) { return d == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

template <class T>
constexpr Dtype dtype_of();
template <>
constexpr Dtype dtype_of<double>() {
  return Dtype::f64;
}
template <>
constexpr Dtype dtype_of<float>() {
  return Dtype::f32;
}
template <>
constexpr Dtype dtype_of<Bf16>() {
  return Dtype::bf16;
}
template <>
constexpr Dtype dtype_of<std::int64_t>() {
  return Dtype::i64;
}
template <>
constexpr Dtype dtype_of<std::int32_t>() {
  return Dtype::i32;
}
template <>
constexpr Dtype dtype_of<std::uint8_t>() {
  return Dtype::u8;
}

}  // namespace ov
