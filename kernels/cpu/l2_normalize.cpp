#include "kernels/l2_normalize.h"

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const L2NormalizeForward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.x.dims<2>();
  A* rnorm = a.rnorm.device_data<A>();
  parallel_for(N, grain(2 * C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    const A norm = std::sqrt(dot<A>(C, x, x));
    const A r = 1 / (norm > A(1e-12) ? norm : A(1e-12));
    for (std::int64_t c = 0; c < C; ++c) y[c] = T(x[c] * r);
    rnorm[n] = r;
  });
}

template <class T>
void backward(const L2NormalizeBackward& a) {
  using A = Accum<T>;
  const auto [N, C] = a.dy.dims<2>();
  const A* rnorm = a.rnorm.device_data<A>();
  parallel_for(N, grain(2 * C), [&, C = C](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *y = a.y.device_row<T>(n);
    const A r = rnorm[n], along = dot<A>(C, dy, y);
    T* dx = a.dx.device_row<T>(n);
    for (std::int64_t c = 0; c < C; ++c) dx[c] = T(r * (dy[c] - y[c] * along));
  });
}

}  // namespace

void l2_normalize_forward(const L2NormalizeForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void l2_normalize_backward(const L2NormalizeBackward& a) {
  by_dtype(a.dy.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
