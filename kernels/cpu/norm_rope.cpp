#include "kernels/norm_rope.h"

#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const NormRopeForward& a) {
  using A = Accum<T>;
  const auto [L, H, D] = a.x.dims<3>();
  const T* w = a.w.device_data<T>();
  A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), y_rows(a.y);

  parallel_for(L, grain(H * D), [&, H = H, D = D, R = D / 2](std::int64_t t) {
    const A *cos = a.cos.device_row<A>(t), *sin = a.sin.device_row<A>(t);
    for (std::int64_t n = t * H; n < (t + 1) * H; ++n) {
      const T* x = x_rows[n];
      T* __restrict y = y_rows[n];
      const A r = 1 / std::sqrt(dot<A>(D, x, x) / A(D) + A(a.eps));
      for (std::int64_t j = 0; j < R; ++j) {
        const T first = T(w[j] * (x[j] * r)), second = T(w[j + R] * (x[j + R] * r));
        y[j] = T(first * cos[j] - second * sin[j]);
        y[j + R] = T(second * cos[j] + first * sin[j]);
      }
      rstd[n] = r;
    }
  });
}

// du of a row, in memory of the thread that lasts until its next call.
template <class T>
const T* turned_back(const T* dy, const Accum<T>* cos, const Accum<T>* sin, std::int64_t R) {
  thread_local std::vector<T> row;
  if (static_cast<std::int64_t>(row.size()) < 2 * R) row.resize(static_cast<std::size_t>(2 * R));
  T* __restrict du = row.data();
  for (std::int64_t j = 0; j < R; ++j) {
    du[j] = T(dy[j] * cos[j] + dy[j + R] * sin[j]);
    du[j + R] = T(dy[j + R] * cos[j] - dy[j] * sin[j]);
  }
  return du;
}

template <class T>
void backward(const NormRopeBackward& a) {
  using A = Accum<T>;
  const auto [L, H, D] = a.x.dims<3>();
  const T* w = a.w.device_data<T>();
  const A* rstd = a.rstd.device_data<A>();
  const RowPointers<T> x_rows(a.x), dy_rows(a.dy), dx_rows(a.dx);
  const RowPointers<A> cos(a.cos), sin(a.sin);

  const auto of_normed = [&, H = H, D = D](std::int64_t n) {
    return turned_back<T>(dy_rows[n], cos[n / H], sin[n / H], D / 2);
  };
  const auto of_x = [&, D = D](std::int64_t n, const T* du) {
    const T* x = x_rows[n];
    T* __restrict dx = dx_rows[n];
    const A r = rstd[n];
    const A k = r * r / A(D) * sum<A>(D, [&](std::int64_t c) { return du[c] * w[c] * x[c]; });
    for (std::int64_t c = 0; c < D; ++c) dx[c] = T(r * (du[c] * w[c] - x[c] * k));
  };
  // A row of one piece is met once by the sum over rows, which then has its du for dx too.
  const bool both = a.dx && a.dw && D <= columns_at_once;
  if (a.dx && !both) parallel_for(L * H, grain(D), [&](std::int64_t n) { of_x(n, of_normed(n)); });
  if (a.dw)
    add_sum_of_rows(L * H, D, a.dw.device_data<A>(), [&](std::int64_t n) {
      const T* du = of_normed(n);
      if (both) of_x(n, du);
      return [du, x = x_rows[n], r = rstd[n]](std::int64_t c) { return du[c] * x[c] * r; };
    });
}

}  // namespace

void norm_rope_forward(const NormRopeForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void norm_rope_backward(const NormRopeBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
