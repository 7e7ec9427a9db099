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
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const T *w = a.w.device_data<T>(), *b = a.b.device_data<T>();
  A *mean = a.mean.device_data<A>(), *rstd = a.rstd.device_data<A>();

  parallel_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    const A m = sum<A>(C, [&](std::int64_t c) { return x[c]; }) / A(C);
    const A variance = sum<A>(C, [&](std::int64_t c) { return (x[c] - m) * (x[c] - m); }) / A(C);
    const A r = 1 / std::sqrt(variance + A(a.eps));
    for (std::int64_t c = 0; c < C; ++c) y[c] = T((x[c] - m) * r * w[c] + b[c]);
    mean[n] = m;
    rstd[n] = r;
  });
}

template <class T>
void backward(const LayernormBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const T* w = a.w.device_data<T>();
  const A *mean = a.mean.device_data<A>(), *rstd = a.rstd.device_data<A>();

  if (a.dx)
    parallel_for(N, grain(C), [&, C = C](std::int64_t n) {
      const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
      T* dx = a.dx.device_row<T>(n);
      const A m = mean[n], r = rstd[n];
      const A g = sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c]; }) / A(C);
      const A gh = sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c] * ((x[c] - m) * r); }) / A(C);
      for (std::int64_t c = 0; c < C; ++c) dx[c] = T(r * (dy[c] * w[c] - g - (x[c] - m) * r * gh));
    });

  if (a.dw)
    add_sum_of_rows(N, C, a.dw.device_data<A>(), [&](std::int64_t n) {
      return [dy = a.dy.device_row<T>(n), x = a.x.device_row<T>(n), m = mean[n], r = rstd[n]](std::int64_t c) {
        return dy[c] * ((x[c] - m) * r);
      };
    });
  if (a.db)
    add_sum_of_rows(N, C, a.db.device_data<A>(),
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
