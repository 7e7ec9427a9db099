#include "kernels/layernorm.h"

#include <cmath>

#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const LayernormForward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const T *w = a.w.device_data<T>(), *b = a.b.device_data<T>();
  A *mean = a.mean.device_data<A>(), *rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), y_rows(a.y);

  wide_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = x_rows[n];
    T* __restrict y = y_rows[n];
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
  const RowPointers<T> x_rows(a.x), dy_rows(a.dy), dx_rows(a.dx);

  // All gradients in one pass over dy and x: of the 2 C sums over rows, dw's come first.
  RowSums<A> sums(N, a.dw || a.db ? 2 * C : 0);
  wide_for(sums.blocks(), grain(rows_in_block * C), [&, C = C](std::int64_t block) {
    A* __restrict dw = sums.cleared(block), * __restrict db = dw + C;
    for (std::int64_t n = sums.begin(block); n < sums.end(block); ++n) {
      const T *dy = dy_rows[n], *x = x_rows[n];
      const A m = mean[n], r = rstd[n];
      if (a.dx) {
        T* __restrict dx = dx_rows[n];
        const A g = sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c]; }) / A(C);
        const A gh = sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c] * ((x[c] - m) * r); }) / A(C);
        for (std::int64_t c = 0; c < C; ++c) dx[c] = T(r * (dy[c] * w[c] - g - (x[c] - m) * r * gh));
      }
      if (a.dw)
        for (std::int64_t c = 0; c < C; ++c) dw[c] += dy[c] * ((x[c] - m) * r);
      if (a.db)
        for (std::int64_t c = 0; c < C; ++c) db[c] += dy[c];
    }
  });
  if (a.dw) sums.add_to(a.dw.device_data<A>(), 0, C);
  if (a.db) sums.add_to(a.db.device_data<A>(), C, C);
}

}  // namespace

void layernorm_forward(const LayernormForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void layernorm_backward(const LayernormBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
