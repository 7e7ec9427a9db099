#include "kernels/gelu.h"

#include "base/math.h"
#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const GeluForward& a) {
  const auto [N, F] = a.x.dims<2>();
  parallel_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) y[f] = T(math::gelu(Accum<T>(x[f])));
  });
}

template <class T>
void backward(const GeluBackward& a) {
  const auto [N, F] = a.x.dims<2>();
  parallel_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
    T* dx = a.dx.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) dx[f] = T(dy[f] * math::gelu_derivative(Accum<T>(x[f])));
  });
}

}  // namespace

void gelu_forward(const GeluForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void gelu_backward(const GeluBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
