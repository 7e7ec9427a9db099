#include "kernels/adamw.h"

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

template <class T>
void update(const Adamw& a) {
  T *p = a.param.device_data<T>(), *m = a.m.device_data<T>(), *v = a.v.device_data<T>();
  const T* g = a.grad.device_data<T>();
  const T clip = T(a.clip), b1 = T(a.beta1), b2 = T(a.beta2), c1 = T(1 - a.beta1), c2 = T(1 - a.beta2), eps = T(a.eps);
  const T keep = T(1 - a.lr * a.weight_decay);
  const T step_size = T(a.lr / (1 - power(a.beta1, a.step)));
  const T correction = T(std::sqrt(1 - power(a.beta2, a.step)));

  // By value: what is captured by reference could overlap the arrays, and the loop would not vectorise.
  parallel_ranges(a.param.numel(), 16384, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T gi = g[i] * clip;
      m[i] = b1 * m[i] + c1 * gi;
      v[i] = b2 * v[i] + c2 * (gi * gi);
      p[i] = p[i] * keep - step_size * (m[i] / (std::sqrt(v[i]) / correction + eps));
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
  by_dtype(a.param.dtype(), [&](auto t) { update<decltype(t)>(a); });
}

void squared_sums(const SquaredSums& a) {
  by_dtype(a.x.dtype(), [&](auto t) { squares<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
