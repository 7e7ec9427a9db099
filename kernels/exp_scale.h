// Cosines become logits by a learned temperature, of which the logarithm of the inverse is kept (CLIP, Radford et al.
// 2021, 2.3): positive whatever the optimiser does.
//
//   y_nc = e^s x_nc
//   dx_nc = e^s dy_nc,  ds += e^s Σ_nc dy_nc x_nc
//
// x y dx dy [N,C] and s [] share a dtype; ds [] is f32 (f64 when x is f64). dx is overwritten, ds is added to: every
// row's sum, then the sum of the rows.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct ExpScaleForward {
  Tensor y;
  Tensor x, s;
};
struct ExpScaleBackward {
  Tensor dx, ds;
  Tensor dy, x, s;
};

void exp_scale_forward(const ExpScaleForward&);
void exp_scale_backward(const ExpScaleBackward&);

}  // namespace ov::kernels
