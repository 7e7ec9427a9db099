// Exact GELU (Hendrycks and Gimpel 2016), the activation of the vision tower and the merger. Not the tanh form.
//
//   y  = x Φ(x),  Φ(x) = ½ (1 + erf(x/√2))
//   dx = dy (Φ(x) + x φ(x)),  φ(x) = exp(-x²/2) / √(2π)
//
// All [N,F] of one dtype; dx is overwritten.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct GeluForward {
  Tensor y;
  Tensor x;
};
struct GeluBackward {
  Tensor dx;
  Tensor dy, x;
};

void gelu_forward(const GeluForward&);
void gelu_backward(const GeluBackward&);

}  // namespace ov::kernels
