// Element types, and what each is computed in.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/host_device.h"

namespace ov {

enum class Dtype : std::uint8_t { f64, f32, bf16, i64, i32, u8 };

// The upper half of an f32. Loading it is exact, so it becomes a float by itself; storing rounds (to nearest, ties to
// even; NaN stays NaN), so it is written out: y = Bf16(a).
struct Bf16 {
  std::uint16_t bits;

  Bf16() = default;
  OV_HD explicit Bf16(float x) {
    const auto u = __builtin_bit_cast(std::uint32_t, x);
    bits = (u & 0x7fffffffu) > 0x7f800000u ? std::uint16_t{0x7fff}
                                           : static_cast<std::uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
  }
  OV_HD operator float() const { return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16); }
  static Bf16 from_bits(std::uint16_t bits) {
    Bf16 x;
    x.bits = bits;
    return x;
  }
};

// What a kernel must know of its element type T. Arithmetic, statistics and sums are in A = Accum<T>: A(x) loads an
// element, T(a) stores one and rounds once. epsilon: from 1 to the next number.
template <class T>
struct Float;
template <>
struct Float<double> {
  using Accum = double;
  static constexpr double epsilon = 0x1p-52;
};
template <>
struct Float<float> {
  using Accum = float;
  static constexpr float epsilon = 0x1p-23f;
};
template <>
struct Float<Bf16> {
  using Accum = float;
  static constexpr float epsilon = 0x1p-7f;
};
template <class T>
using Accum = typename Float<T>::Accum;

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

// The dtype of Accum: what sums, statistics and weight gradients of this type are kept in.
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
