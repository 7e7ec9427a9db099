// The rotation of one head's row by the angles of its token, for rope.cpp and norm_rope.cpp.
#pragma once
#include <cstdint>

namespace ov::kernels::cpu {

// y_j = x_j cos_j - x_{j+R} sin_j,  y_{j+R} = x_{j+R} cos_j + x_j sin_j, j < R; `back` by the opposite angle. x and y
// must not overlap.
template <bool back, class T, class A>
inline void rotate(std::int64_t R, T* __restrict first, T* __restrict second, const T* __restrict x,
                   const T* __restrict x_pair, const A* __restrict cos, const A* __restrict sin) {
  for (std::int64_t j = 0; j < R; ++j) {
    const A s = back ? -sin[j] : sin[j];
    first[j] = T(x[j] * cos[j] - x_pair[j] * s);
    second[j] = T(x_pair[j] * cos[j] + x[j] * s);
  }
}

template <bool back, class T, class A>
inline void rotate(std::int64_t R, T* y, const T* x, const A* cos, const A* sin) {
  // A head of 32 is half a vector's loop: knowing its length is worth more than the arithmetic.
  if (R == 16) return rotate<back>(16, y, y + 16, x, x + 16, cos, sin);
  rotate<back>(R, y, y + R, x, x + R, cos, sin);
}

}  // namespace ov::kernels::cpu
