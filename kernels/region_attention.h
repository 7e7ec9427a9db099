// Region attention (RICE, Xie et al. 2025, Eq. 2): one query a region, against the tokens of its picture that lie in
// the region. All regions of a picture share its keys and values; which of them a region sees is an index list, never
// a mask tensor.
//
//   s_rj = scale q_r·k_j over the rows j that region r sees,  lse_r = log Σ_j exp(s_rj)
//   p_rj = exp(s_rj - lse_r),  o_r = Σ_j p_rj v_j
// Backward, with δ_r = do_r·o_r:
//   dv_j = Σ_r p_rj do_r,  ds_rj = p_rj (do_r·v_j - δ_r),  dq_r = scale Σ_j ds_rj k_j,  dk_j = scale Σ_r ds_rj q_r
//
// q o dq do [R,H,D], k v dk dv [N,H,D] of one dtype; lse [R,H] f32 (f64 when q is f64). All gradients are overwritten.
//
// A region's bits depend on the rows that it sees alone. Gradients into keys and values are summed over the regions in
// their order.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace ov::kernels {

// Region r sees rows[begin[r]] .. rows[begin[r + 1] - 1], at least one.
struct RegionTable {
  std::vector<std::int64_t> begin = {0};
  std::vector<std::int64_t> rows;
  std::int64_t regions() const { return static_cast<std::int64_t>(begin.size()) - 1; }
};

struct RegionAttentionForward {
  Tensor o, lse;
  Tensor q, k, v;
  const RegionTable* regions;
  double scale;
};
struct RegionAttentionBackward {
  Tensor dq, dk, dv;  // all three
  Tensor d_o, q, k, v, o, lse;
  const RegionTable* regions;
  double scale;
};

void region_attention_forward(const RegionAttentionForward&);
void region_attention_backward(const RegionAttentionBackward&);

}  // namespace ov::kernels
