#include "kernels/rmsnorm.h"

#include "kernels/cpu/grain.h"
#include "kernels/cpu/head_row.h"
#include "kernels/cpu/norm_row.h"
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
    rstd[n] = with_width(C, [&](std::int64_t C) { return norm_row(C, y_rows[n], x_rows[n], w, A(a.eps)); });
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
    A* const dw = a.dw ? sums.cleared(block) : nullptr;
    for (std::int64_t n = sums.begin(block); n < sums.end(block); ++n)
      with_width(C, [&](std::int64_t C) {
        norm_row_gradients(C, a.dx ? dx_rows[n] : nullptr, dw, dy_rows[n], x_rows[n], w, rstd[n]);
      });
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
