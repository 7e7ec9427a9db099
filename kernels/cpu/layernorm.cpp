#include "kernels/layernorm.h"

#include <cmath>

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const LayernormForward& a) {
  const auto [N, C] = a.x.dims<2>();
  const T *w = a.w.device_data<T>(), *b = a.b.device_data<T>();
  T *mean = a.mean.device_data<T>(), *rstd = a.rstd.device_data<T>();

  parallel_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    const T m = sum<T>(C, [&](std::int64_t c) { return x[c]; }) / T(C);
    const T variance = sum<T>(C, [&](std::int64_t c) { return (x[c] - m) * (x[c] - m); }) / T(C);
    const T r = 1 / std::sqrt(variance + T(a.eps));
    for (std::int64_t c = 0; c < C; ++c) y[c] = (x[c] - m) * r * w[c] + b[c];
    mean[n] = m;
    rstd[n] = r;
  });
}

template <class T>
void backward(const LayernormBackward& a) {
  const auto [N, C] = a.x.dims<2>();
  const T* w = a.w.device_data<T>();
  const T *mean = a.mean.device_data<T>(), *rstd = a.rstd.device_data<T>();

  if (a.dx)
    parallel_for(N, grain(C), [&, C = C](std::int64_t n) {
      const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
      T* dx = a.dx.device_row<T>(n);
      const T m = mean[n], r = rstd[n];
      const T g = sum<T>(C, [&](std::int64_t c) { return dy[c] * w[c]; }) / T(C);
      const T gh = sum<T>(C, [&](std::int64_t c) { return dy[c] * w[c] * ((x[c] - m) * r); }) / T(C);
      for (std::int64_t c = 0; c < C; ++c) dx[c] = r * (dy[c] * w[c] - g - (x[c] - m) * r * gh);
    });

  if (a.dw)
    add_sum_of_rows(N, C, a.dw.device_data<T>(), [&](std::int64_t n) {
      return [dy = a.dy.device_row<T>(n), x = a.x.device_row<T>(n), m = mean[n], r = rstd[n]](std::int64_t c) {
        return dy[c] * ((x[c] - m) * r);
      };
    });
  if (a.db)
    add_sum_of_rows(N, C, a.db.device_data<T>(),
                    [&](std::int64_t n) { return [dy = a.dy.device_row<T>(n)](std::int64_t c) { return dy[c]; }; });
}

}  // namespace

void layernorm_forward(const LayernormForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void layernorm_backward(const LayernormBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
