// The differentiable operations, one file each in ops/. Equations stand in the kernels' headers.
#pragma once
#include <functional>
#include <memory>

#include "autograd/tape.h"
#include "base/rng.h"
#include "comm/communicator.h"
#include "kernels/attention.h"
#include "kernels/gelu.h"
#include "kernels/margin_logits.h"
#include "kernels/region_attention.h"

namespace ov {

// x [N,C] w [F,C] b [F] -> [N,F] = x wᵀ + b. wide: of the accumulation type, not rounded (scores that a loss reads)
Var linear(const Var& x, const Var& w, const Var& b = {}, bool wide = false);
Var layer_norm(const Var& x, const Var& w, const Var& b, double eps);  // x [N,C]
Var rms_norm(const Var& x, const Var& w, double eps);                  // x [..,C], over the last axis
Var gelu(const Var& x, kernels::GeluForm form = kernels::GeluForm::exact);
Var swiglu(const Var& gate, const Var& up);  // silu(gate) up
Var add(const Var& a, const Var& b);
Var scale(const Var& x, double factor);  // x [N,C]
// x [N,C], a `share` of it zero and the rest divided by 1 - share: element n C + c as number first + n C + c decides.
Var dropout(const Var& x, double share, const Philox& random, std::uint64_t first = 0);
// h = a + b and y = rms_norm(h, w, eps): the two ops in one pass over memory, with their bits.
struct AddRmsNorm {
  Var h, y;
};
AddRmsNorm add_rms_norm(const Var& a, const Var& b, const Var& w, double eps);
inline Var operator+(const Var& a, const Var& b) { return add(a, b); }

// x [T,H,D] rotated by the tables [T,D/2].
struct RopeTable {
  Var cos, sin;
};
Var rope(const Var& x, const RopeTable& table);
// rope(rms_norm(x, w, eps), table), likewise; the table has no gradient.
Var norm_rope(const Var& x, const Var& w, double eps, const RopeTable& table);
// positions [T] i64. No gradient. The table has the accumulation dtype of `dtype`.
RopeTable rope_table_1d(const Tensor& positions, const Tensor& inv_freq, Dtype dtype);
// positions [T,2] i64 (row, column), row -1 for a class token, whose angles are class_angles [D/2].
RopeTable rope_table_2d(const Tensor& positions, const Tensor& inv_freq, const Var& class_angles);

struct AttentionOptions {
  std::shared_ptr<const kernels::Segments> segments;
  double scale = 1;
};
Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options);  // [T,H,D] -> [T,H,D]

Var embedding(const Tensor& ids, const Var& table);  // ids [T] i64, table [V,C] -> [T,C]
Var take_rows(const Var& x, const Tensor& index);    // index [I] i64, distinct -> [I,C]
Var insert_class_tokens(const Var& x, const Var& class_vector, const Tensor& first_row);
Var splice(const Var& text, const Var& features, const Tensor& source);  // source [T] i64: -1 keeps the text row

// The last axis cut into parts: x [T,ΣW] -> parts of shape [T, shape...] with the product of a shape its width.
// Views, no copies.
std::vector<Var> split(const Var& x, const std::vector<Shape>& shapes);
Tensor split_part(const Tensor& whole, std::span<const Shape> part_shapes,
                  int part);                 // part_shapes with the leading axis
Var view(const Var& x, const Shape& shape);  // same elements, x contiguous

struct CrossEntropy {
  Var loss;           // [1]
  Tensor token_loss;  // [N]
};
// logits [N,V], targets [N] i64, weights [N] of the accumulation dtype; Σ w ce / denominator
CrossEntropy cross_entropy(const Var& logits, const Tensor& targets, const Tensor& weights, double denominator);
// cross_entropy(linear(x, w), ...), of which at most `chunk` rows of logits are in memory at a time; backward makes
// them once more. On the CPU the bits are the same where `chunk` is a multiple of linear_cross_entropy_rows, the block
// of a product's sum (kernels/cpu/gemm.h).
constexpr std::int64_t linear_cross_entropy_rows = 384;
CrossEntropy linear_cross_entropy(const Var& x, const Var& w, const Tensor& targets, const Tensor& weights,
                                  double denominator, std::int64_t chunk);

// Between ranks that hold one model together (parallel/tensor.h). Rank r has rows [N r/R, N (r+1)/R) of N.
Tensor rows_of_rank(const Tensor& whole, const Communicator& ranks, int rank);
Var gather_rows(const Var& x, std::int64_t rows, Communicator& ranks);  // own rows -> all of them
Var reduce_rows(const Var& x, Communicator& ranks);                     // an addend of all rows -> own rows of the sum
// The same loss, of logits [N,V/R]: this rank's part of the vocabulary. All ranks get all of loss and token_loss.
CrossEntropy vocabulary_cross_entropy(const Var& logits, const Tensor& targets, const Tensor& weights,
                                      double denominator, Communicator& ranks);

// One query a region against the rows of k and v that the region sees: q [R,H,D], k v [N,H,D] -> [R,H,D].
Var region_attention(const Var& q, const Var& k, const Var& v, std::shared_ptr<const kernels::RegionSegments> regions,
                     double scale);
Var l2_normalize(const Var& x);             // x [N,C], every row divided by its length
Var exp_scale(const Var& x, const Var& s);  // x [N,C] times e^s, s [] a learned temperature

// Cosines [R,S] -> logits; roles [R,S] u8 as kernels/margin_logits.h lists them.
struct MarginOptions {
  kernels::Margin margin = kernels::Margin::cosface;
  double scale = 64, m = 0.3, filter_above = 0;
};
Var margin_logits(const Var& cos, const Tensor& roles, const MarginOptions& options);
struct ClusterLoss {
  Var loss;         // [1]
  Tensor row_loss;  // [R]
};
// logits and roles [R,S], weights [R] of the accumulation dtype; Σ w (log(1 + P) + log(1 + S)) / denominator
ClusterLoss cluster_loss(const Var& logits, const Tensor& roles, const Tensor& weights, double denominator);

// A mixture of experts: E of them, k a token, T k = R rows sorted by expert (kernels/router.h, kernels/experts.h).
struct Routing {
  Var weights;                    // [T,k]
  Var probabilities;              // [T,E]
  Tensor tokens, slots, offsets;  // [R], [T,k], [E+1], i64
};
// logits [T,E], of the accumulation type. forced [T,k]: these experts, not the k of the largest logits.
Routing route(const Var& logits, std::int64_t k, bool normalise, const Tensor& forced = {});
Var expert_rows(const Var& x, const Tensor& tokens, const Tensor& slots);    // [T,C] -> [R,C]
Var grouped_linear(const Var& x, const Var& w, const Tensor& offsets);       // x [R,C], w [E F,C] -> [R,F]
Var combine_experts(const Var& x, const Var& weights, const Tensor& slots);  // [R,C] -> [T,C]
Tensor expert_counts(const std::vector<Tensor>& offsets);                    // over all layers [E], i64
// One [T,E] a layer; factor Σ_e counts_e Σ p_e.
Var load_balance_loss(const std::vector<Var>& probabilities, const Tensor& counts, double factor);

// Runs `block` without keeping its activations and runs it again in backward: the same bits for one more forward pass.
// `trains`: some of its parameters are trained.
std::vector<Var> recompute(const Block& block, const std::vector<Var>& inputs, bool trains);

}  // namespace ov
