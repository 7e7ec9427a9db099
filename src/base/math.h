// The project's own elementary functions: the same bits from every compiler, on every CPU, in the CUDA simulator and
// under nvcc. libm's float functions differ between versions and machines, so f32 arithmetic never calls them.
//
//   math::exp log erf tanh   f32: at most 1 ulp from the exact value, for every one of the 2^32 inputs
//   math::sin cos            f32: at most 1 ulp too, for every finite input up to FLT_MAX, reduced exactly (below)
//   double arguments         go to libm: f64 is the oracle, compared within bounds, never in bits
//
// Subnormal arguments and results are exact to the same bounds. Signed zeros are kept by sin, tanh and erf; log(0) =
// -inf, log(x < 0) = NaN, sin(inf) = cos(inf) = NaN. Which NaN comes back is not promised. exp, tanh and erf are
// branch-free f32 so that a plain loop vectorises; log, sin and cos compute in f64, which is as deterministic, and
// round once.
//
// Only + - * /, explicit fma, comparisons and integer operations: one IEEE result each. Build with -ffp-contract=off
// (nvcc: -fmad=false). The polynomial coefficients are our own minimax fits: relative error of the function over the
// stated interval, coefficients rounded to f32 one after the other with the rest refitted. `make test-math` measures.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/host_device.h"

namespace ov::math {

namespace detail {

OV_HD_INLINE std::uint32_t bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }
OV_HD_INLINE float from_bits(std::uint32_t b) { return __builtin_bit_cast(float, b); }
OV_HD_INLINE float abs(float x) { return from_bits(bits(x) & 0x7fffffffu); }
OV_HD_INLINE float with_sign_of(float magnitude, float x) {
  return from_bits(bits(magnitude) | (bits(x) & 0x80000000u));
}

// The smaller of two numbers >= 0, of which `x` may be NaN: their bit patterns are ordered like their values.
OV_HD_INLINE float at_most(float x, float limit) {
  const std::uint32_t a = bits(x), b = bits(limit);
  return from_bits(a < b ? a : b);
}

// condition ? a : b with both sides always computed: g++ would otherwise branch around the side not taken, and a loop
// with branches does not vectorise.
OV_HD_INLINE float select(bool condition, float a, float b) {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return from_bits((bits(a) & mask) | (bits(b) & ~mask));
}
OV_HD_INLINE float power_of_2(int n) {
  return from_bits(static_cast<std::uint32_t>(n + 127) << 23);
}  // -126 <= n <= 127

// e^x = 2^n (1 + t) with t in [2^-½ - 1, 2^½ - 1].
struct ExpParts {
  float t;
  int n;
};

// |x| < 2^22 ln 2. n = x / ln 2 to the nearest integer, by the addition of 1.5·2^23. ln 2 = high + low, n·high is
// exact, hence x - n ln 2 = r + rest where `rest` is what r's rounding lost. t = r + (r² h(r) + rest), |r| <= 0.347,
// relative error of 1 + t before rounding: 3.1e-9.
OV_HD_INLINE ExpParts exp_parts(float x) {
  constexpr float to_integer = 12582912.0f;
  const float shifted = std::fma(x, 1.44269504f, to_integer);
  const float n = shifted - to_integer;
  const float exact = std::fma(n, -0x1.62e4p-1f, x);
  const float r = std::fma(n, -0x1.7f7d1cp-20f, exact);
  const float rest = std::fma(n, -0x1.7f7d1cp-20f, exact - r);
  float h = std::fma(1.38194906e-3f, r, 8.3686905e-3f);
  h = std::fma(h, r, 4.1668281e-2f);
  h = std::fma(h, r, 0.166665211f);
  h = std::fma(h, r, 0.49999994f);
  return {r + std::fma(r * r, h, rest), static_cast<int>(bits(shifted) - bits(to_integer))};
}

}  // namespace detail

OV_HD_INLINE float exp(float x) {
  // Above 89 the result overflows, below -104 it rounds to zero. 2^n is applied in two halves: the first is exact, the
  // second rounds once when the result is subnormal.
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const detail::ExpParts e = detail::exp_parts(x);
  const int half = e.n >> 1;
  return (1.0f + e.t) * detail::power_of_2(half) * detail::power_of_2(e.n - half);
}

// |x| < 7/8: x + x p(x²), relative error 8.6e-10. Otherwise 1 - erfc(x) with erfc(x) = exp(q(u)), u = x - 81/64
// exactly (a point where log erfc is close to an f32, and near which q's roundings are small), absolute error 1.8e-9.
// 1 from 3.92 on.
OV_HD_INLINE float erf(float x) {
  const float a = detail::abs(x), z = a * a;
  float p = std::fma(7.86771343e-5f, z, -8.02642375e-4f);
  p = std::fma(p, z, 5.19094151e-3f);
  p = std::fma(p, z, -2.68553644e-2f);
  p = std::fma(p, z, 0.112836227f);
  p = std::fma(p, z, -0.376126289f);
  p = std::fma(p, z, 0.128379166f);
  const float near = std::fma(p, a, a);

  const float u = detail::at_most(a, 3.95f) - 1.265625f;
  float q = std::fma(2.00194845e-4f, u, -1.5644487e-3f);
  q = std::fma(q, u, 7.68076722e-3f);
  q = std::fma(q, u, -3.22085172e-2f);
  q = std::fma(q, u, -0.872332454f);
  q = std::fma(q, u, -3.09496045f);
  q = std::fma(q, u, -2.61079955f);
  const detail::ExpParts e = detail::exp_parts(q);
  const float scale = detail::power_of_2(e.n);
  const float far = std::fma(-scale, e.t, 1.0f - scale);  // 1 - 2^n (1 + t), rounded once

  return detail::with_sign_of(detail::select(a >= 0.875f, far, near), x);
}

// |x| < 1: x + x³ p(x²), relative error 5e-10. Otherwise 1 - 2 / (e^2x + 1); tanh rounds to 1 from 9.02 on.
OV_HD_INLINE float tanh(float x) {
  const float a = detail::abs(x), z = a * a;
  float p = std::fma(1.16210511e-4f, z, -8.21208407e-4f);
  p = std::fma(p, z, 3.04812705e-3f);
  p = std::fma(p, z, -8.57107528e-3f);
  p = std::fma(p, z, 2.17743553e-2f);
  p = std::fma(p, z, -5.39507158e-2f);
  p = std::fma(p, z, 0.133331746f);
  p = std::fma(p, z, -0.333333284f);
  const float near = std::fma(p * z, a, a);

  const float b = detail::at_most(a, 9.1f);
  const detail::ExpParts e = detail::exp_parts(b + b);
  const float scale = detail::power_of_2(e.n);
  const float far = 1.0f - 2.0f / std::fma(scale, e.t, scale + 1.0f);

  return detail::with_sign_of(detail::select(a >= 1.0f, far, near), x);
}

// x = 2^k m with m in [2^-½, 2^½): log x = k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172, in f64; the
// series of atanh is cut after s^13 (relative error 3e-12).
OV_HD_INLINE float log(float x) {
  const bool subnormal = x < 0x1p-126f;
  const std::uint32_t b = detail::bits(subnormal ? x * 0x1p23f : x);
  const std::int32_t k = static_cast<std::int32_t>(b - 0x3f3504f3u) >> 23;  // 0x3f3504f3 is 2^-½
  const double m = detail::from_bits(b - (static_cast<std::uint32_t>(k) << 23));
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = std::fma(1.0 / 13, z, 1.0 / 11);
  p = std::fma(p, z, 1.0 / 9);
  p = std::fma(p, z, 1.0 / 7);
  p = std::fma(p, z, 1.0 / 5);
  p = std::fma(p, z, 1.0 / 3);
  p = std::fma(p, z, 1.0);
  const double y = std::fma(static_cast<double>(k - (subnormal ? 23 : 0)), 0.69314718055994530942, 2.0 * s * p);
  const float infinity = detail::from_bits(0x7f800000u);
  const float special = x == 0.0f ? -infinity : x == infinity ? x : detail::from_bits(0x7fc00000u);
  return x > 0.0f && x < infinity ? static_cast<float>(y) : special;
}

namespace detail {

// x = quadrant · π/2 + r, |r| <= π/4 (a little more where the quotient itself rounds); quadrant mod 4.
struct Reduced {
  double r;
  std::uint32_t quadrant;
};

// |x| < 2^28: π/2 = high + low to 106 bits, so the error of r stays below 2^-52 |r| + 2^-78.
OV_HD_INLINE Reduced reduce_moderate(float x) {
  constexpr double to_integer = 6755399441055744.0;  // 1.5·2^52
  const double n = std::fma(static_cast<double>(x), 0.63661977236758134308, to_integer) - to_integer;
  double r = std::fma(n, -0x1.921fb54442d18p+0, static_cast<double>(x));
  r = std::fma(n, -0x1.1a62633145c07p-54, r);
  return {r, static_cast<std::uint32_t>(static_cast<std::int64_t>(n))};
}

// 2^28 <= |x| < inf (Payne and Hanek 1983): |x| = m 2^e with a 24-bit integer m. Of the binary digits of 2/π, those
// before digit e - 1 contribute multiples of 4 quadrants; the next 96 give m 2^e 2/π mod 4 in fixed point with 62
// digits after the point. No f32 comes closer than 2^-30 to a multiple of π/2, so r keeps 30 correct digits.
OV_HD_INLINE Reduced reduce_large(float x) {
  OV_LOOKUP std::uint32_t two_over_pi[7] = {0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u,
                                            0xdb629599u, 0x3c439041u, 0xfe5163abu};
  const std::uint32_t b = bits(x);
  const int e = static_cast<int>((b >> 23) & 255u) - 150;
  const std::uint64_t m = (b & 0x7fffffu) | 0x800000u;
  const int word = (e - 2) >> 5, shift = (e - 2) & 31;
  std::uint64_t window[3] = {};
  for (int i = 0; i < 3; ++i) {
    const std::uint64_t pair = static_cast<std::uint64_t>(two_over_pi[word + i]) << 32 | two_over_pi[word + i + 1];
    window[i] = (pair << shift) >> 32;
  }
  const std::uint64_t turns = m * (window[0] << 32 | window[1]) + (m * window[2] >> 32);
  const std::uint64_t quadrant = (turns + (std::uint64_t{1} << 61)) >> 62;
  const double fraction = static_cast<double>(static_cast<std::int64_t>(turns - (quadrant << 62)));
  const double r = fraction * (0x1p-62 * 1.57079632679489661923);
  const auto q = static_cast<std::uint32_t>(quadrant);
  return b >> 31 ? Reduced{-r, 0u - q} : Reduced{r, q};
}

// sin(x + shift · π/2): Taylor series on [-π/4, π/4], relative error 1e-11 (sin, cut after r^11) and 1e-12 (cos,
// after r^12).
OV_HD_INLINE float sin_shifted(float x, std::uint32_t shift) {
  const float a = abs(x);
  if (!(a < from_bits(0x7f800000u))) return x - x;
  const Reduced c = a < 0x1p28f ? reduce_moderate(x) : reduce_large(x);
  const double z = c.r * c.r;
  double s = std::fma(-1.0 / 39916800, z, 1.0 / 362880);
  s = std::fma(s, z, -1.0 / 5040);
  s = std::fma(s, z, 1.0 / 120);
  s = std::fma(s, z, -1.0 / 6);
  s = std::fma(s, z, 1.0) * c.r;
  double k = std::fma(1.0 / 479001600, z, -1.0 / 3628800);
  k = std::fma(k, z, 1.0 / 40320);
  k = std::fma(k, z, -1.0 / 720);
  k = std::fma(k, z, 1.0 / 24);
  k = std::fma(k, z, -0.5);
  k = std::fma(k, z, 1.0);
  const std::uint32_t quadrant = c.quadrant + shift;
  const float y = static_cast<float>(quadrant & 1u ? k : s);
  return quadrant & 2u ? -y : y;
}

}  // namespace detail

OV_HD_INLINE float sin(float x) { return detail::sin_shifted(x, 0); }
OV_HD_INLINE float cos(float x) { return detail::sin_shifted(x, 1); }

OV_HD_INLINE double exp(double x) { return std::exp(x); }
OV_HD_INLINE double log(double x) { return std::log(x); }
OV_HD_INLINE double erf(double x) { return std::erf(x); }
OV_HD_INLINE double sin(double x) { return std::sin(x); }
OV_HD_INLINE double cos(double x) { return std::cos(x); }
OV_HD_INLINE double tanh(double x) { return std::tanh(x); }

// What the networks use; T is float or double.

template <class T>
OV_HD_INLINE T rsqrt(T x) {
  return T(1) / std::sqrt(x);
}

// 1 / (1 + e^-x)
template <class T>
OV_HD_INLINE T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

// x Φ(x) = ½ x (1 + erf(x / √2))
template <class T>
OV_HD_INLINE T gelu(T x) {
  return T(0.5) * x * (T(1) + erf(x * T(0.70710678118654752440)));
}

// Φ(x) + x φ(x), φ(x) = e^(-x²/2) / √(2π)
template <class T>
OV_HD_INLINE T gelu_derivative(T x) {
  const T density = exp(T(-0.5) * x * x) * T(0.39894228040143267794);
  return T(0.5) * (T(1) + erf(x * T(0.70710678118654752440))) + x * density;
}

// x s, s = σ(1.702 x)
template <class T>
OV_HD_INLINE T quick_gelu(T x) {
  return x * sigmoid(T(1.702) * x);
}

// s + 1.702 x s (1 - s)
template <class T>
OV_HD_INLINE T quick_gelu_derivative(T x) {
  const T s = sigmoid(T(1.702) * x);
  return s + x * (T(1.702) * s * (T(1) - s));
}

// x σ(x)
template <class T>
OV_HD_INLINE T silu(T x) {
  return x * sigmoid(x);
}

// σ(x) (1 + x (1 - σ(x)))
template <class T>
OV_HD_INLINE T silu_derivative(T x) {
  const T s = sigmoid(x);
  return s * (T(1) + x * (T(1) - s));
}

}  // namespace ov::math
