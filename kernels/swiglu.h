// SwiGLU (Shazeer 2020), the gated activation of the decoder's MLP.
//
//   y = silu(g) u,  silu(g) = g σ(g),  σ(g) = 1 / (1 + exp(-g))
//   du = dy silu(g)
//   dg = dy u σ(g) (1 + g (1 - σ(g)))
//
// gate up y dgate dup dy [N,F] of one dtype; gate and up may be the two halves of one [N,2F] buffer, their gradients
// too. dgate and dup are overwritten; either may be null.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct SwigluForward {
  Tensor y;
  Tensor gate, up;
};
struct SwigluBackward {
  Tensor dgate, dup;
  Tensor dy, gate, up;
};

void swiglu_forward(const SwigluForward&);
void swiglu_backward(const SwigluBackward&);

}  // namespace ov::kernels
