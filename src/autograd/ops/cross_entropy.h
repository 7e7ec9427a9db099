// What the loss of whole logits and that of a rank's part of the vocabulary share: their place on the tape.
#pragma once
#include "autograd/registry.h"

namespace ov {

// Records `loss` with dz as kernels/cross_entropy.h has it, from what the forward pass left: lse [N,2].
Var record_cross_entropy(Op op, const Var& logits, const Tensor& loss, const Tensor& targets, const Tensor& weights,
                         const Tensor& lse, double denominator);

}  // namespace ov
