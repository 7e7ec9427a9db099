// The decoupled loss of cluster discrimination (MLCD, An et al. 2024, Eq. 5; RICE, Eq. 3 and 4): positives are pushed
// above zero and negatives below it, each set by itself.
//
//   P_r = Σ_{s positive} n_rs exp(-z_rs),  S_r = Σ_{s negative} exp(z_rs)
//   l_r = log(1 + P_r) + log(1 + S_r)                         both as log-sum-exp with one more term of logit 0
//   loss = Σ_r w_r l_r / D                                    0 when D is 0
//   dz_rs = dloss w_r / D ·  -n_rs exp(-z_rs) / (1 + P_r)     at a positive
//                            exp(z_rs) / (1 + S_r)            at a negative, 0 elsewhere
//
// A row without positives (a string of no known token) has P = 0: nothing but negatives. A row of weight 0 is skipped.
// The mean over regions, and the weight of OCR against objects, are choices of w and D.
//
// cluster_hits: hits += Σ_r how many of row r's positive classes are among its k_r highest cosines of classes with a
// role; of equal ones the first is higher.
// cluster_above: above_p += how many classes with a role of row row_p lie above the cosine value_p; equal ones do where
// they come before column_p. Where several tables are parts of one, the sum over them says whether label p hits.
//
// roles [R,S] u8: 0 nothing, 1 a negative, 1 + n a positive that counts n times (kernels/margin_logits.h).
// z dz [R,S]; lse [R,2] holds log(1 + P) and log(1 + S); lse, weights, row_loss [R], loss and dloss [1] are f32 (f64
// when z is f64). dz is overwritten. cos [R,S], k [R] i64, hits [1] f64; value [P] as cos, row column above [P] i64.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct ClusterLossForward {
  Tensor loss, row_loss, lse;
  Tensor logits, roles, weights;
  double denominator;
};
struct ClusterLossBackward {
  Tensor dlogits;
  Tensor dloss, logits, roles, weights, lse;
  double denominator;
};

struct ClusterHits {
  Tensor hits;
  Tensor cos, roles, k;
};

struct ClusterAbove {
  Tensor above;
  Tensor cos, roles, value, row, column;
};

void cluster_loss_forward(const ClusterLossForward&);
void cluster_loss_backward(const ClusterLossBackward&);
void cluster_hits(const ClusterHits&);
void cluster_above(const ClusterAbove&);

}  // namespace ov::kernels
