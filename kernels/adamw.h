// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected, and the gradient norm for clipping.
//
//   g ← clip grad
//   m ← β1 m + (1-β1) g,   v ← β2 v + (1-β2) g²
//   p ← p - lr wd p,        p ← p - lr (m / (1-β1^t)) / (√(v / (1-β2^t)) + eps)         the order of
//     torch.optim.AdamW
//
// param grad m v [N], one dtype, f32 or f64. Works on any range of the flat parameter buffer: elements do not see
// each other.
//
// squared_sums: partial_k = Σ x² over chunk k of `chunk` elements, each a fixed tree in f64: shards that start on
// chunk borders and are added chunk by chunk give the same norm bits as the whole buffer.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct Adamw {
  Tensor param, m, v;
  Tensor grad;
  double clip, lr, beta1, beta2, eps, weight_decay;
  std::int64_t step;  // t, from 1
};
struct SquaredSums {
  Tensor partial;
  Tensor x;
};  // partial [⌈N / norm_chunk⌉] f64

constexpr std::int64_t norm_chunk = 4096;  // elements

void adamw(const Adamw&);
void squared_sums(const SquaredSums&);

}  // namespace ov::kernels
