#include "kernels/swiglu.h"

#include "base/math.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const SwigluForward& a) {
  using A = Accum<T>;
  const auto [N, F] = a.gate.dims<2>();
  const RowPointers<T> gates(a.gate), ups(a.up), ys(a.y);
  wide_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T *gate = gates[n], *up = ups[n];
    T* __restrict y = ys[n];
    for (std::int64_t f = 0; f < F; ++f) y[f] = T(math::silu(A(gate[f])) * up[f]);
  });
}

template <class T>
void backward(const SwigluBackward& a) {
  using A = Accum<T>;
  const auto [N, F] = a.gate.dims<2>();
  wide_for(N, grain(4 * F), [&, F = F](std::int64_t n) {
    const T *dy = a.dy.device_row<T>(n), *gate = a.gate.device_row<T>(n), *up = a.up.device_row<T>(n);
    if (a.dgate && a.dup) {  // one exponential an element for both: the usual case
      T* __restrict dgate = a.dgate.device_row<T>(n);
      T* __restrict dup = a.dup.device_row<T>(n);
      for (std::int64_t f = 0; f < F; ++f) {
        const A g = gate[f], sigmoid = math::sigmoid(g);
        dgate[f] = T(dy[f] * up[f] * (sigmoid * (A(1) + g * (A(1) - sigmoid))));  // silu'(g)
        dup[f] = T(dy[f] * (g * sigmoid));
      }
      return;
    }
    if (a.dgate) {
      T* dgate = a.dgate.device_row<T>(n);
      for (std::int64_t f = 0; f < F; ++f) dgate[f] = T(dy[f] * up[f] * math::silu_derivative(A(gate[f])));
    }
    if (a.dup) {
      T* dup = a.dup.device_row<T>(n);
      for (std::int64_t f = 0; f < F; ++f) dup[f] = T(dy[f] * math::silu(A(gate[f])));
    }
  });
}

}  // namespace

void swiglu_forward(const SwigluForward& a) {
  by_dtype(a.gate.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void swiglu_backward(const SwigluBackward& a) {
  by_dtype(a.gate.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
