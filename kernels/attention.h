// Softmax attention over segments of any length, grouped queries, tiled: O(T) memory (FlashAttention, Dao et al. 2022).
//
//   s_ij = scale q_i·k_j over the visible keys j,  lse_i = log Σ_j exp(s_ij)
//   p_ij = exp(s_ij - lse_i),  o_i = Σ_j p_ij v_j
// Backward, with δ_i = do_i·o_i:
//   dv_j = Σ_i p_ij do_i,  ds_ij = p_ij (do_i·v_j - δ_i),  dq_i = scale Σ_j ds_ij k_j,  dk_j = scale Σ_i ds_ij q_i
//
// q o dq do [T,H,D], k v dk dv [S,K,D] of one dtype; query head h reads key head h / (H/K). lse [T,H] f32 (f64 when q
// is f64).
//
// Which keys a query sees stands in the segment table (kernels/segments.h); queries of no row get o = 0.
//
// Numerics: keys are walked in blocks of 64 counted from the first key of prefix + segment. A query's bits therefore
// depend on its own visible keys alone: not on the pack, the query tile, the cache, or whether the prefix is shared
// or repeated. The gradient into a prefix is summed over its own row first, then over its branches in table order. In
// bf16 the probabilities are rounded where they enter the second product (o, dv); scores, softmax and sums are f32, and
// o and the gradients are rounded once. On tensor cores causal keys also come in spans of 512 whose sums are added in
// order (kernels/cuda/attention_tiles.h): other bits than the CPU's, for whom they are one chain, and as independent.
#pragma once
#include "kernels/segments.h"

namespace ov::kernels {

constexpr std::int64_t attention_block = 64;  // keys

struct AttentionForward {
  Tensor o, lse;
  Tensor q, k, v;
  Tensor segments;  // Segments::rows
  bool causal;
  double scale;
};
struct AttentionBackward {
  Tensor dq, dk, dv;  // all three or none
  Tensor d_o, q, k, v, o, lse;
  Tensor segments;  // Segments::rows
  bool causal;
  double scale;
};

void attention_forward(const AttentionForward&);
void attention_backward(const AttentionBackward&);

}  // namespace ov::kernels
