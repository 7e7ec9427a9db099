#include "kernels/norm_rope.h"

#include <vector>

#include "kernels/cpu/grain.h"
#include "kernels/cpu/head_row.h"
#include "kernels/cpu/norm_row.h"
#include "kernels/cpu/rotate.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

// A row of D, in memory of the thread that lasts until its next call.
template <class T>
T* row_memory(std::int64_t D) {
  thread_local std::vector<T> row;
  if (static_cast<std::int64_t>(row.size()) < D) row.resize(static_cast<std::size_t>(D));
  return row.data();
}

template <class T>
void forward(const NormRopeForward& a) {
  using A = Accum<T>;
  const auto [L, H, D] = a.x.dims<3>();
  const T* w = a.w.device_data<T>();
  A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), y_rows(a.y);

  wide_for(L, grain(H * D), [&, H = H, D = D, R = D / 2](std::int64_t t) {
    const A *cos = a.cos.device_row<A>(t), *sin = a.sin.device_row<A>(t);
    T* u = row_memory<T>(D);
    for (std::int64_t n = t * H; n < (t + 1) * H; ++n) {
      rstd[n] = with_width(D, [&](std::int64_t D) { return norm_row(D, u, x_rows[n], w, A(a.eps)); });
      rotate<false>(R, y_rows[n], u, cos, sin);
    }
  });
}

template <class T>
void backward(const NormRopeBackward& a) {
  using A = Accum<T>;
  const auto [L, H, D] = a.x.dims<3>();
  const T* w = a.w.device_data<T>();
  const A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), dy_rows(a.dy), dx_rows(a.dx);
  const RowPointers<A> cos_rows(a.cos), sin_rows(a.sin);

  // A row is turned back once, for both gradients.
  RowSums<A> sums(L * H, a.dw ? D : 0);
  wide_for(sums.blocks(), grain(rows_in_block * D), [&, H = H, D = D, R = D / 2](std::int64_t block) {
    A* const dw = a.dw ? sums.cleared(block) : nullptr;
    T* du = row_memory<T>(D);
    for (std::int64_t n = sums.begin(block); n < sums.end(block); ++n) {
      rotate<true>(R, du, dy_rows[n], cos_rows[n / H], sin_rows[n / H]);
      with_width(D, [&](std::int64_t D) {
        norm_row_gradients(D, a.dx ? dx_rows[n] : nullptr, dw, du, x_rows[n], w, rstd[n]);
      });
    }
  });
  if (a.dw) sums.add_to(a.dw.device_data<A>(), 0, D);
}

}  // namespace

void norm_rope_forward(const NormRopeForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void norm_rope_backward(const NormRopeBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
