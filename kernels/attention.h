// Softmax attention over variable-length segments, grouped queries, tiled: O(T) memory (Dao et al. 2022,
// FlashAttention).
//
//   s_ij = scale q_i·k_j over the visible keys j,  lse_i = log Σ_j exp(s_ij)
//   p_ij = exp(s_ij - lse_i),  o_i = Σ_j p_ij v_j
// Backward, with δ_i = do_i·o_i:
//   dv_j = Σ_i p_ij do_i,  ds_ij = p_ij (do_i·v_j - δ_i),  dq_i = scale Σ_j ds_ij k_j,  dk_j = scale Σ_i ds_ij q_i
//
// q o dq do [T,H,D], k v dk dv [S,K,D] of one dtype; query head h reads key head h / (H/K). lse [T,H] f32 (f64 when q
// is f64).
//
// Which keys a query sees is the segment table's word, never a mask tensor's. A row of the table owns queries
// [q_begin, +q_length) and keys [k_begin, +k_length). Without causality a query sees all keys of its row. With it,
// the row's last query sees all of them and each query before sees one fewer (so a KV cache is k_length > q_length).
// A row may name an earlier row as its prefix: its queries see all keys of the prefix before their own. Rows do not
// overlap; queries of no row get o = 0.
//
// Numerics: keys are walked in blocks of 64 counted from the first key of prefix + segment. A query's bits therefore
// depend on its own visible keys alone: not on the pack, the query tile, the cache, or whether the prefix is shared
// or repeated. The gradient into a prefix is summed over its own row first, then over its branches in table order.
#pragma once
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace ov::kernels {

struct SegmentRow {
  std::int64_t q_begin = 0, q_length = 0, k_begin = 0, k_length = 0;
  std::int64_t prefix = -1;  // index of an earlier row without a prefix of its own, or -1
};
using SegmentTable = std::vector<SegmentRow>;

constexpr std::int64_t attention_block = 64;  // keys

struct AttentionForward {
  Tensor o, lse;
  Tensor q, k, v;
  const SegmentTable* segments;
  bool causal;
  double scale;
};
struct AttentionBackward {
  Tensor dq, dk, dv;  // all three or none
  Tensor d_o, q, k, v, o, lse;
  const SegmentTable* segments;
  bool causal;
  double scale;
};

void attention_forward(const AttentionForward&);
void attention_backward(const AttentionBackward&);

// Query-key pairs that are visible, over one head: the products of a forward pass take 4 D times as many FLOPs for
// each query head.
std::int64_t visible_pairs(const SegmentTable& segments, bool causal);

}  // namespace ov::kernels
