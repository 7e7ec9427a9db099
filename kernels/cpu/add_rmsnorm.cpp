#include "kernels/add_rmsnorm.h"

#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/norm_row.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const AddRmsnormForward& f) {
  using A = Accum<T>;
  const auto [N, C] = f.a.dims<2>();
  const T* w = f.w.device_data<T>();
  A* rstd = f.rstd.device_data<A>();
  const RowPointers<T> a_rows(f.a), b_rows(f.b), h_rows(f.h), y_rows(f.y);

  wide_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T *a = a_rows[n], *b = b_rows[n];
    T* __restrict h = h_rows[n];
    for (std::int64_t c = 0; c < C; ++c) h[c] = T(a[c] + b[c]);
    rstd[n] = norm_row(C, y_rows[n], h, w, A(f.eps));
  });
}

template <class T, class Dh>
void backward(const AddRmsnormBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.h.dims<2>();
  const T* w = a.w.device_data<T>();
  const A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> h_rows(a.h), dy_rows(a.dy);
  const RowPointers<Dh> dh_rows(a.dh);
  const RowPointers<A> dx_rows(a.dx);

  wide_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T *dy = dy_rows[n], *h = h_rows[n];
    const Dh* dh = dh_rows[n];
    A* __restrict dx = dx_rows[n];
    const A r = rstd[n];
    const A k = r * r / A(C) * sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c] * h[c]; });
    for (std::int64_t c = 0; c < C; ++c) dx[c] = dh[c] + A(T(r * (dy[c] * w[c] - h[c] * k)));
  });
}

}  // namespace

void add_rmsnorm_forward(const AddRmsnormForward& a) {
  by_dtype(a.a.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void add_rmsnorm_backward(const AddRmsnormBackward& a) {
  by_dtype(a.h.dtype(), [&](auto t) {
    using T = decltype(t);
    a.dh.dtype() == a.h.dtype() ? backward<T, T>(a) : backward<T, Accum<T>>(a);
  });
}

}  // namespace ov::kernels::cpu
