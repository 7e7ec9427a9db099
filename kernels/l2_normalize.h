// Rows as directions: what cosines between regions and class centres are products of.
//
//   r_n = 1 / max(‖x_n‖, 1e-12)                            one number per row, saved for backward
//   y_nc = x_nc r_n
//   dx_nc = r_n (dy_nc - y_nc Σ_c dy_nc y_nc)
//
// x y dx dy [N,C] share a dtype; rnorm [N] is f32 (f64 when x is f64). dx is overwritten. A row of zeros stays zero.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct L2NormalizeForward {
  Tensor y, rnorm;
  Tensor x;
};
struct L2NormalizeBackward {
  Tensor dx;
  Tensor dy, y, rnorm;
};

void l2_normalize_forward(const L2NormalizeForward&);
void l2_normalize_backward(const L2NormalizeBackward&);

}  // namespace ov::kernels
