// One row of an RMS norm and its gradients (kernels/rmsnorm.h), for the kernels that have it in their pass.
#pragma once
#include <cmath>
#include <cstdint>

#include "base/sum.h"

namespace ov::kernels::cpu {

// y = w (x r); returns r.
template <class T, class A>
inline A norm_row(std::int64_t C, T* __restrict y, const T* x, const T* w, A eps) {
  const A r = 1 / std::sqrt(dot<A>(C, x, x) / A(C) + eps);
  for (std::int64_t c = 0; c < C; ++c) y[c] = T(w[c] * (x[c] * r));
  return r;
}

// dx = r (dy w - x r² mean(dy w x)) and dw += dy x r; either may be null.
template <class T, class A>
inline void norm_row_gradients(std::int64_t C, T* __restrict dx, A* __restrict dw, const T* dy, const T* x, const T* w,
                               A r) {
  if (dx) {
    const A k = r * r / A(C) * sum<A>(C, [&](std::int64_t c) { return dy[c] * w[c] * x[c]; });
    for (std::int64_t c = 0; c < C; ++c) dx[c] = T(r * (dy[c] * w[c] - x[c] * k));
  }
  if (dw)
    for (std::int64_t c = 0; c < C; ++c) dw[c] += dy[c] * x[c] * r;
}

}  // namespace ov::kernels::cpu
