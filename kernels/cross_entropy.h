// The loss: a weighted sum of token cross entropies over a denominator given from outside.
//
//   lse_n = log Σ_v exp(z_nv) = m_n + s_n,  m_n = max_v z_nv,  s_n = log Σ_v exp(z_nv - m_n)
//   ce_n = s_n - (z_n[target_n] - m_n)
//   loss = Σ_n w_n ce_n / D                                     0 when D is 0
//   dz_nv = dloss w_n / D (exp((z_nv - m_n) - s_n) - [v = target_n])
//
// m and s are kept apart: a small loss would otherwise be the difference of two large numbers.
//
// Every normalisation (token mean, sample mean, policy gradients) is a choice of w and D by the data side. A row of
// weight 0 is skipped: its target is not read, its token_loss and dz are 0. Backward, a target < 0 is no column's.
//
// logits z dz [N,V]; targets [N] i64; lse [N,2] holds m and s; lse, weights and token_loss [N], loss and dloss [1] are
// f32 (f64 when z is f64). dz is overwritten.
//
// weighted_mean is the loss alone, Σ_n w_n v_n / D, for a caller that gets ce_n piece by piece; the same bits.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct CrossEntropyForward {
  Tensor loss, token_loss, lse;
  Tensor logits, targets, weights;
  double denominator;
};
struct CrossEntropyBackward {
  Tensor dlogits;
  Tensor dloss, logits, targets, weights, lse;
  double denominator;
};
struct WeightedMean {
  Tensor mean;  // [1]
  Tensor values, weights;
  double denominator;
};

void cross_entropy_forward(const CrossEntropyForward&);
void cross_entropy_backward(const CrossEntropyBackward&);
void weighted_mean(const WeightedMean&);

}  // namespace ov::kernels
