// Region attention (RICE, Xie et al. 2025, Eq. 2): one query a region, against the tokens of its picture that lie in
// the region. All regions of a picture share its keys and values. What a region sees is a list (kernels/segments.h).
//
//   s_rj = scale q_r·k_j over the rows j that region r sees,  lse_r = log Σ_j exp(s_rj)
//   p_rj = exp(s_rj - lse_r),  o_r = Σ_j p_rj v_j
// Backward, with δ_r = do_r·o_r:
//   dv_j = Σ_r p_rj do_r,  ds_rj = p_rj (do_r·v_j - δ_r),  dq_r = scale Σ_j ds_rj k_j,  dk_j = scale Σ_r ds_rj q_r
//
// q o dq do [R,H,D], k v dk dv [N,H,D] of one dtype; lse [R,H] f32 (f64 when q is f64). All gradients are overwritten.
//
// A region's bits depend on the rows that it sees alone. bf16 is as in kernels/attention.h. Gradients into keys and
// values are summed over the regions in their order. A row that no region sees gets zeros.
//
#pragma once
#include "kernels/segments.h"

namespace ov::kernels {

struct RegionAttentionForward {
  Tensor o, lse;
  Tensor q, k, v;
  Tensor begin, rows;  // of RegionSegments
  double scale;
};
struct RegionAttentionBackward {
  Tensor dq, dk, dv;  // all three
  Tensor d_o, q, k, v, o, lse;
  Tensor begin, rows;  // of RegionSegments
  double scale;
};

void region_attention_forward(const RegionAttentionForward&);
void region_attention_backward(const RegionAttentionBackward&);

}  // namespace ov::kernels
