#include "kernels/exp_scale.h"

#include <vector>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const ExpScaleForward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  const A scale = math::exp(A(*a.s.device_data<T>()));
  parallel_for(N, grain(C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    for (std::int64_t c = 0; c < C; ++c) y[c] = T(scale * x[c]);
  });
}

template <class T>
void backward(const ExpScaleBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.dy.dims<2>();
  const A scale = math::exp(A(*a.s.device_data<T>()));
  std::vector<A> rows(static_cast<std::size_t>(N));
  parallel_for(N, grain(2 * C), [&, C = C](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
    if (a.ds) rows[static_cast<std::size_t>(n)] = dot<A>(C, dy, x);
    if (!a.dx) return;
    T* dx = a.dx.device_row<T>(n);
    for (std::int64_t c = 0; c < C; ++c) dx[c] = T(scale * dy[c]);
  });
  if (a.ds)
    *a.ds.device_data<A>() += scale * sum<A>(N, [&](std::int64_t n) { return rows[static_cast<std::size_t>(n)]; });
}

}  // namespace

void exp_scale_forward(const ExpScaleForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void exp_scale_backward(const ExpScaleBackward& a) {
  by_dtype(a.dy.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
