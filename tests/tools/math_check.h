// Compares an f32 function with fp64 libm over bit patterns; used on all of them by math_exhaustive and on a sample
// by the unit tests.
//
// Error in ulps: |ours - exact| / ulp(exact rounded to f32), the ulp never below 2^-149. libm's own error (below 1
// ulp of f64) adds at most 2^-29. An overflowed result counts as 2^128. NaN for a number, a number for NaN and a zero
// of the wrong sign count as infinitely wrong.
#pragma once
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "base/math.h"

namespace ov::math_check {

enum class Parity { odd, even, none };  // spares the reference of -x

struct Function {
  const char* name;
  void (*ours)(const float* x, float* y, int n);
  double (*exact)(double);
  Parity parity;
  double bound;  // ulps
};

struct Result {
  double worst = 0;            // ulps
  float worst_at = 0;          // the first such input in the order of bit patterns
  std::uint64_t checksum = 0;  // Σ mix64(bits of x, bits of y), any NaN as 0x7fc00000
  std::uint64_t inputs = 0;
};

inline double ulp_error(double exact, float ours) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  if (std::isnan(exact) || std::isnan(ours)) return std::isnan(exact) && std::isnan(ours) ? 0 : wrong;
  if (std::isinf(exact)) return static_cast<double>(ours) == exact ? 0 : wrong;
  if (exact == 0) return ours == 0 && std::signbit(ours) == std::signbit(exact) ? 0 : wrong;
  const float rounded = static_cast<float>(exact);
  if (ours == rounded && std::isinf(ours)) return 0;
  const std::uint64_t exponent = std::clamp(std::bit_cast<std::uint32_t>(rounded) >> 23 & 255u, 1u, 254u);
  const double ulp = std::bit_cast<double>((exponent - 150 + 1023) << 52);
  const double value = std::isinf(ours) ? std::copysign(0x1p128, ours) : static_cast<double>(ours);
  return std::fabs(value - exact) / ulp;
}

// All x and -x with bits(x) in 0, stride, 2 stride ... below 2^31. Blocks are dealt to the threads; the result does not
// depend on which thread took which.
inline Result check(const Function& f, std::uint64_t stride, unsigned threads) {
  constexpr int block = 4096;
  const std::uint64_t patterns = ((std::uint64_t{1} << 31) - 1) / stride + 1;
  std::atomic<std::uint64_t> next{0};
  std::vector<Result> part(threads);

  auto work = [&](Result& r) {
    std::vector<float> x(block), y(block);
    std::vector<double> exact(block);
    for (std::uint64_t begin; (begin = next.fetch_add(block)) < patterns;) {
      const int n = static_cast<int>(std::min<std::uint64_t>(block, patterns - begin));
      for (const std::uint32_t sign : {0u, 0x80000000u}) {
        for (int i = 0; i < n; ++i)
          x[i] = std::bit_cast<float>(static_cast<std::uint32_t>((begin + i) * stride) | sign);
        f.ours(x.data(), y.data(), n);
        if (sign && f.parity == Parity::odd) {
          for (int i = 0; i < n; ++i) exact[i] = -exact[i];
        } else if (!sign || f.parity == Parity::none) {
          for (int i = 0; i < n; ++i) exact[i] = f.exact(static_cast<double>(x[i]));
        }
        for (int i = 0; i < n; ++i) {
          const double e = ulp_error(exact[i], y[i]);
          const auto at = std::bit_cast<std::uint32_t>(x[i]);
          if (e > r.worst || (e == r.worst && e > 0 && at < std::bit_cast<std::uint32_t>(r.worst_at)))
            r.worst = e, r.worst_at = x[i];
          r.checksum += mix64(at, std::isnan(y[i]) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(y[i]));
        }
        r.inputs += n;
      }
    }
  };
  std::vector<std::thread> pool;
  for (Result& r : part) pool.emplace_back(work, std::ref(r));
  for (std::thread& t : pool) t.join();

  Result all;
  for (const Result& r : part) {
    if (r.worst > all.worst || (r.worst == all.worst && r.worst > 0 &&
                                std::bit_cast<std::uint32_t>(r.worst_at) < std::bit_cast<std::uint32_t>(all.worst_at)))
      all.worst = r.worst, all.worst_at = r.worst_at;
    all.checksum += r.checksum;
    all.inputs += r.inputs;
  }
  return all;
}

// A plain loop, as kernels have it.
template <float (*F)(float)>
void map(const float* x, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = F(x[i]);
}

inline const Function functions[] = {
    {"exp", map<math::exp>, std::exp, Parity::none, 1.0}, {"log", map<math::log>, std::log, Parity::none, 1.0},
    {"erf", map<math::erf>, std::erf, Parity::odd, 1.0},  {"tanh", map<math::tanh>, std::tanh, Parity::odd, 1.0},
    {"sin", map<math::sin>, std::sin, Parity::odd, 1.0},  {"cos", map<math::cos>, std::cos, Parity::even, 1.0},
};

}  // namespace ov::math_check
