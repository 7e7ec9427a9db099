#include "kernels/adamw.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

// βᵗ by squaring: libm's pow may differ in its last bit from one version to the next.
double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

// A moment as it is kept.
template <class M, bool by_chance, class A>
M kept(A x, std::uint32_t word) {
  if constexpr (std::is_same_v<M, A>) return x;
  else if constexpr (by_chance) return rounded_by_chance(static_cast<float>(x), word);
  else return M(static_cast<float>(x));
}

// Moments of type M, rounded by chance or to the nearest.
template <class T, class M, bool by_chance>
void update(const Adamw& a, const AdamwRange& r) {
  using A = Accum<T>;
  const double given = a.clip.device_data<double>()[0];
  if (!std::isfinite(given)) return;
  constexpr bool has_master = !std::is_same_v<T, A>;
  T* p = a.param.device_data<T>() + r.param;
  A* w = has_master ? a.master.device_data<A>() + r.begin : a.param.device_data<A>() + r.param;
  M *m = a.m.device_data<M>() + r.begin, *v = a.v.device_data<M>() + r.begin;
  const A* g = a.grad.device_data<A>() + r.begin;
  const A clip = A(given), b1 = A(a.beta1), b2 = A(a.beta2), c1 = A(1 - a.beta1), c2 = A(1 - a.beta2), eps = A(a.eps);
  const A keep = A(1 - r.lr * r.weight_decay);
  const A step_size = A(r.lr / (1 - power(a.beta1, a.step)));
  const A correction = A(std::sqrt(1 - power(a.beta2, a.step)));

  const Philox random = a.random.value_or(Philox(0, ""));
  const std::uint64_t first = a.first + static_cast<std::uint64_t>(r.begin);

  // By value: what is captured by reference could overlap the arrays, and the loop would not vectorise.
  parallel_ranges(r.count, 16384, [=](std::int64_t begin, std::int64_t end) {
    const auto element = [=](std::int64_t i, std::uint32_t word) {
      const A gi = g[i] * clip;
      const A mi = b1 * A(m[i]) + c1 * gi;
      const A vi = b2 * A(v[i]) + c2 * (gi * gi);
      w[i] = w[i] * keep - step_size * (mi / (std::sqrt(vi) / correction + eps));
      m[i] = kept<M, by_chance>(mi, word), v[i] = kept<M, by_chance>(vi, word >> 16);
      if (has_master) p[i] = T(w[i]);
    };
    if constexpr (by_chance) {
      PhiloxWords words(random, first + static_cast<std::uint64_t>(begin));
      for (std::int64_t i = begin; i < end; ++i) element(i, words());
    } else {
      for (std::int64_t i = begin; i < end; ++i) element(i, 0);
    }
  });
}

template <class T>
void squares(const SquaredSums& a) {
  const std::int64_t N = a.x.numel();
  const T* x = a.x.device_data<T>();
  double* partial = a.partial.device_data<double>();
  parallel_for(a.partial.numel(), 4, [&](std::int64_t k) {
    const T* chunk = x + k * norm_chunk;
    partial[k] = sum<double>(std::min(norm_chunk, N - k * norm_chunk),
                             [&](std::int64_t i) { return double(chunk[i]) * double(chunk[i]); });
  });
}

}  // namespace

void adamw(const Adamw& a) {
  by_dtype(a.param.dtype(), [&](auto t) {
    using T = decltype(t);
    for (const AdamwRange& r : ranges_of(a))
      if (a.m.dtype() != Dtype::bf16) update<T, Accum<T>, false>(a, r);
      else if (a.random) update<T, Bf16, true>(a, r);
      else update<T, Bf16, false>(a, r);
  });
}

void squared_sums(const SquaredSums& a) {
  by_dtype(a.x.dtype(), [&](auto t) { squares<decltype(t)>(a); });
}

void clip_factor(const ClipFactor& a) {
  const double* p = a.partial.device_data<double>();
  const double norm = std::sqrt(sum<double>(a.partial.numel(), [&](std::int64_t k) { return p[k]; }));
  a.norm.device_data<double>()[0] = norm;
  a.clip.device_data<double>()[0] = !std::isfinite(norm) ? std::nan("")
                                    : a.limit > 0        ? std::min(1.0, a.limit / (norm + 1e-6))
                                                         : 1.0;
}

}  // namespace ov::kernels::cpu
