// Expert parallelism (GShard, Lepikhin et al. 2020): n data-parallel ranks, which run micro-batches of their own, share
// the experts of every mixture (nn/moe.h). Rank j holds experts [j E/n, (j+1) E/n) and all that is no expert. In a turn
// each of the n runs one leaf of the step, and in every layer with experts, u_s sorted by (expert, token) on rank s:
//
//   c_sj   how many rows of leaf s chose each expert of rank j        all-to-all: counts
//   v_j = (u_0j, u_1j, ..)    sorted by (leaf, expert, token)         all-to-all: rows to their experts
//   o_j = down_e(silu(gate_e v) * up_e v)                             grouped by (leaf, expert)
//   o_s = (o_0s, o_1s, ..)    sorted by (expert, token) again         all-to-all: rows back
//   do_j, dv_j                                                        the same two ways, backward
//   dW_e = Σ_s dW_e of the rows of leaf s                             the tree over the turn's leaves
//
// Any imbalance: no capacity, no token is dropped, and a rank may get all rows or none. A rank without a leaf, or with
// one of no tokens, still serves its experts to the others: it makes the same calls with rows of theirs alone. All go
// backward through every layer, also for a leaf that wants no gradient there.
//
// Turn i is the leaves [i n, (i+1) n) of the step, leaf i n + j on rank j. Ranks that hold the same experts divide the
// turns as others divide leaves (parallel/data.h, zero1.h to zero3.h: N counts these copies there, P is what one of the
// n holds). What is no expert is summed over the n ranks after every turn (train.grad_sum chain: after all turns). As n
// is a power of two, a turn's sum is a node of the tree over leaves, and a row's bits do not depend on its neighbours:
// with train.grad_sum tree the bits are those of one rank.
//
// Bytes that leave the n ranks together, for values of b and gradients of a bytes, M layers with experts, X rows that
// chose an expert of another rank, over all of them (balanced: (n-1)/n M k T), width C, S trained parameters that are
// no expert's, B chunks of 4096 of the gradient norm, of all P of the model, that several ranks have some of:
//   counts      8 (n-1) (E + n) M                  a turn forward
//   rows        2 X C b                            a turn forward, as much backward
//   gradients   2 (n-1) S a                        a turn; chain: a step
//   norm        2 (n-1) (4096 B a + 8 P / 4096)    a step
// Recomputation runs a block's forward again, and sends its counts and rows again.
// What a rank holds: 1/n of the experts: values, gradients, moments; all of the rest, which ZeRO divides among copies
// alone; activations of own tokens, and of experts those of the rows that came; in backward n-1 more gradients of what
// one layer holds of gate|up, or of down.
#pragma once
#include "autograd/ops/all_to_all_rows.h"
#include "nn/moe.h"
#include "parallel/data.h"

namespace ov {

struct ExpertParallelMoe : Moe {
  ExpertParallelMoe(Parameters& set, const std::string& name, const MoeShape& shape)
      : Moe(set, name, shape), ranks(&set.experts()) {}
  Var through_experts(const Var& u_RC, const Tensor& offsets) const override;
  Var serve(const Var& nothing, bool leaf) const override;

  Communicator* ranks;

 private:
  Var shared(const Var& u_RC, const std::vector<std::int64_t>& rows_of_expert, bool leaf) const;
};

// Rows by expert, from offsets [E+1]. On meta, where no router has spoken, each has as many of `rows` rows as another,
// and the first ones have one more where they do not divide evenly.
std::vector<std::int64_t> rows_by_expert(const Tensor& offsets, std::int64_t rows);
std::vector<std::int64_t> even_rows(std::int64_t rows, std::int64_t experts);
// How many turns a step of so many leaves has.
std::int64_t turns_of(const Parameters& parameters, std::int64_t leaves);
// Whole gradient buffers of the ranks that share experts: what is no expert's becomes the sum over the first `adding`
// ranks, on all of them.
void sum_but_experts(const Parameters& parameters, const Tensor& gradients, int adding);

}  // namespace ov
