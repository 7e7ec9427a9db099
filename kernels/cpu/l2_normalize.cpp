#include "kernels/l2_normalize.h"

#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const L2NormalizeForward& a) {
  const auto [N, C] = a.x.dims<2>();
  T* rnorm = a.rnorm.device_data<T>();
  parallel_for(N, grain(2 * C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    const T norm = std::sqrt(dot<T>(C, x, x));
    const T r = 1 / (norm > T(1e-12) ? norm : T(1e-12));
    for (std::int64_t c = 0; c < C; ++c) y[c] = x[c] * r;
    rnorm[n] = r;
  });
}

template <class T>
void backward(const L2NormalizeBackward& a) {
  const auto [N, C] = a.dy.dims<2>();
  const T* rnorm = a.rnorm.device_data<T>();
  parallel_for(N, grain(2 * C), [&, C = C](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *y = a.y.device_row<T>(n), r = rnorm[n];
    T* dx = a.dx.device_row<T>(n);
    const T along = dot<T>(C, dy, y);
    for (std::int64_t c = 0; c < C; ++c) dx[c] = r * (dy[c] - y[c] * along);
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
