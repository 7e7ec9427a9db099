#include "kernels/gelu.h"

#include "base/math.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

// Of one element each. Called, not inlined, they would keep a loop over a row from being vectorised: so no lambdas.
struct Exact {
  template <class A>
  OV_HD_INLINE static A curve(A x) {
    return math::gelu(x);
  }
  template <class A>
  OV_HD_INLINE static A slope(A x) {
    return math::gelu_derivative(x);
  }
};
struct Quick {
  template <class A>
  OV_HD_INLINE static A curve(A x) {
    return math::quick_gelu(x);
  }
  template <class A>
  OV_HD_INLINE static A slope(A x) {
    return math::quick_gelu_derivative(x);
  }
};

template <class T, class Form>
void forward(const GeluForward& a) {
  const auto [N, F] = a.x.dims<2>();
  wide_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) y[f] = T(Form::curve(Accum<T>(x[f])));
  });
}

template <class T, class Form>
void backward(const GeluBackward& a) {
  const auto [N, F] = a.x.dims<2>();
  wide_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *x = a.x.device_row<T>(n);
    T* dx = a.dx.device_row<T>(n);
    for (std::int64_t f = 0; f < F; ++f) dx[f] = T(dy[f] * Form::slope(Accum<T>(x[f])));
  });
}

}  // namespace

void gelu_forward(const GeluForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.form == GeluForm::quick) forward<T, Quick>(a);
    else forward<T, Exact>(a);
  });
}

void gelu_backward(const GeluBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    if (a.form == GeluForm::quick) backward<T, Quick>(a);
    else backward<T, Exact>(a);
  });
}

}  // namespace ov::kernels::cpu
