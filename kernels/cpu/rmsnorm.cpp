#include "kernels/rmsnorm.h"

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
void forward(const RmsnormForward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const T* w = a.w.device_data<T>();
  A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), y_rows(a.y);

  wide_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = x_rows[n];
    T* __restrict y = y_rows[n];
    const A r = 1 / std::sqrt(dot<A>(C, x, x) / A(C) + A(a.eps));
    for (std::int64_t c = 0; c < C; ++c) y[c] = T(w[c] * (x[c] * r));
    rstd[n] = r;
  });
}

template <class T>
void backward(const RmsnormBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const T* w = a.w.device_data<T>();
  const A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), dy_rows(a.dy), dx_rows(a.dx);

  // Both gradients in one pass over dy and x.
  RowSums<A> sums(N, a.dw ? C : 0);
  wide_for(sums.blocks(), grain(rows_in_block * C), [&, C = C](std::int64_t block) {
    A* __restrict dw = sums.cleared(block);
    for (std::int64_t n = sums.begin(block); n < sums.end(block); ++n) {
      const T *dy = dy_rows[n], *x = x_rows[n];
      const A r = rstd[n];
      if (a.dx) {
        T* __restrict dx = dx_rows[n];
        const A k = r * r / A(C) * sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c] * x[c]; });
        for (std::int64_t c = 0; c < C; ++c) dx[c] = T(r * (dy[c] * w[c] - x[c] * k));
      }
      if (a.dw)
        for (std::int64_t c = 0; c < C; ++c) dw[c] += dy[c] * x[c] * r;
    }
  });
  if (a.dw) sums.add_to(a.dw.device_data<A>(), 0, C);
}

}  // namespace

void rmsnorm_forward(const RmsnormForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void rmsnorm_backward(const RmsnormBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
