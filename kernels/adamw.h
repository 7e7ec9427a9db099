// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected, and the gradient norm for clipping.
//
//   g ← clip grad
//   m ← β1 m + (1-β1) g
//   v ← β2 v + (1-β2) g²
//   w ← w - lr wd w
//   w ← w - lr (m / (1-β1^t)) / (√(v / (1-β2^t)) + eps)         in the order of torch.optim.AdamW
//   param = w, rounded
//
// param [N]; grad m v [N] of its accumulation type. w is `master` [N], of that type too; where param has that type
// already, master is null and w is param. Works on any range of the flat parameter buffer: elements do not see each
// other. A clip that is not finite leaves everything as it was.
//
// squared_sums: partial_k = Σ x² over chunk k of `norm_chunk` elements, each a fixed tree in f64: shards that start on
// chunk borders and are added chunk by chunk give the same norm bits as the whole buffer.
//
// clip_factor: norm = √Σ_k partial_k,  clip = min(1, limit / (norm + 1e-6)), or 1 when limit is 0; NaN when the norm is
// not finite. Both stay on the device, so that a step does not wait for its norm.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct Adamw {
  Tensor param, m, v;
  Tensor grad, clip;  // clip [1] f64
  double lr, beta1, beta2, eps, weight_decay;
  std::int64_t step;   // t, from 1
  Tensor master = {};  // written too
};
struct SquaredSums {
  Tensor partial;  // [⌈N / norm_chunk⌉] f64
  Tensor x;
};
struct ClipFactor {
  Tensor norm, clip;  // [1] f64
  Tensor partial;
  double limit;
};

constexpr std::int64_t norm_chunk = 4096;  // elements

void adamw(const Adamw&);
void squared_sums(const SquaredSums&);
void clip_factor(const ClipFactor&);

}  // namespace ov::kernels
