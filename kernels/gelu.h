// GELU (Hendrycks and Gimpel 2016) in two of its forms: exact, the activation of RICE-ViT and the merger; and quick,
// that of CLIP, with a logistic curve in place of Φ. Not the tanh form.
//
//   exact  y = x Φ(x),  Φ(x) = ½ (1 + erf(x/√2))
//          dx = dy (Φ(x) + x φ(x)),  φ(x) = exp(-x²/2) / √(2π)
//   quick  y = x s,  s = 1 / (1 + exp(-1.702 x))
//          dx = dy (s + 1.702 x s (1 - s))
//
// All [N,F] of one dtype; dx is overwritten.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

enum class GeluForm { exact, quick };

struct GeluForward {
  Tensor y;
  Tensor x;
  GeluForm form = GeluForm::exact;
};
struct GeluBackward {
  Tensor dx;
  Tensor dy, x;
  GeluForm form = GeluForm::exact;
};

void gelu_forward(const GeluForward&);
void gelu_backward(const GeluBackward&);

}  // namespace ov::kernels
