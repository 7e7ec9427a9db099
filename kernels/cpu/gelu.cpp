#include "kernels/gelu.h"

#include "base/math.h"
#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T, class Curve>
void forward(const GeluForward& a, Curve curve) {
  const auto [N, F] = a.x.dims<2>();
  parallel_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) y[f] = T(curve(Accum<T>(x[f])));
  });
}

template <class T, class Slope>
void backward(const GeluBackward& a, Slope slope) {
  const auto [N, F] = a.x.dims<2>();
  parallel_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
    T* dx = a.dx.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) dx[f] = T(dy[f] * slope(Accum<T>(x[f])));
  });
}

}  // namespace

void gelu_forward(const GeluForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.form == GeluForm::quick) forward<T>(a, [](Accum<T> x) { return math::quick_gelu(x); });
    else forward<T>(a, [](Accum<T> x) { return math::gelu(x); });
  });
}

void gelu_backward(const GeluBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.form == GeluForm::quick) backward<T>(a, [](Accum<T> x) { return math::quick_gelu_derivative(x); });
    else backward<T>(a, [](Accum<T> x) { return math::gelu_derivative(x); });
  });
}

}  // namespace ov::kernels::cpu
