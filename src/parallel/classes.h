// Class tables over ranks (PartialFC, An et al. 2022): n data-parallel ranks, which run micro-batches of their own,
// share the tables that regions are told apart by (train/objectives/cluster_discrimination.h). A table of K classes is
// B blocks of rows, block b the classes [b K/B, (b+1) K/B); rank j holds the blocks [j e, (j+1) e), e the smallest
// power of two with B <= n e, and all that is no table. In a turn each of the n runs one leaf of the step, r_s its
// directions:
//
//   r = (r_0, r_1, ..)                     all-gather: every rank has the regions of all leaves
//   z_sb = margin(r_s ŵ_bᵀ)                of the classes of block b that are drawn. A draw is a function of the seed,
//                                          the step and the labels, which all know; class k has key k of it
//   l_sb                                   log(1 + P_b) and log(1 + S_b), or max, log Σ exp(z - max) and that of the
//                                          label: a row's part of the loss, as if the block were the table
//   l_s = join(l_s0, l_s1, ..)             all-gather: every rank has the loss of all rows, and from it dz of its own z
//   dr_sb = dz_sb ŵ_b ,  dr_s = Σ_b dr_sb  a tree over blocks; reduce-scatter: to the rank whose leaf it is
//   dw_b = Σ_s (dz_sbᵀ r_s)(dŵ/dw)         a tree over the turn's leaves, on the block's rank alone
//
// The tree over blocks, and the join, know nothing of ranks: a rank's blocks are a node of that tree. So the number of
// blocks belongs to the recipe (rice.class_blocks) as the number of micro-batches does, and with it the bits do not
// depend on how many ranks hold them; n is a power of two for that (parallel/expert.h says why, and what else holds for
// ranks that share; any other n is within rounding). More blocks are another order of the same sums. B = 1 is what one
// rank does without all this.
//
// Optimiser's state, values and gradients of a block are its rank's. Ranks that hold the same blocks divide the turns,
// and ZeRO what they hold alike. A class starts the same in any block. In a checkpoint a block is a tensor: who reads
// it need not be as many.
//
// Bytes that leave the n ranks together, for directions of b bytes and width D, numbers of a bytes, R regions of all
// leaves of a turn, and of each leaf, table and draw: R_d rows with L_d labels (of a row each once), k = 2, or 3 with
// softmax; S trained parameters that are no table's:
//   leaves       8 n (n-1)                           a turn: who runs which
//   directions   (n-1) R D b                         a turn
//   loss         (n-1) Σ (B k R_d + L_d) a           a turn; L_d: the labels' cosines, for the report
//   hits         (n-1) Σ L_d 8                       a turn: how many classes lie above a label
//   gradients    (n-1) R D a for each table          a turn; of ranks without a block none comes
//   the rest     2 (n-1) S a                         a turn; chain: a step. Norm and report as in parallel/expert.h
// What a rank holds: 1/n of the tables: values, gradients, moments; all of the rest; the directions of all leaves of a
// turn, of one leaf at a time the logits of its own blocks; log2 n + 1 more gradients of its blocks (chain: none).
#pragma once
#include "comm/communicator.h"
#include "parallel/data.h"

namespace ov {

// How the rows of a table lie in blocks, and the blocks on ranks.
struct ClassBlocks {
  std::int64_t classes = 0, blocks = 1;
  int ranks = 1;

  Range rows(std::int64_t block) const { return {classes * block / blocks, classes * (block + 1) / blocks}; }
  std::int64_t block_of(std::int64_t label) const { return ((label + 1) * blocks - 1) / classes; }
  Range of_rank(int rank) const;  // blocks
  int holder(std::int64_t block) const { return static_cast<int>(block / each()); }
  int holders() const { return holder(blocks - 1) + 1; }  // the first ranks, which have blocks
  std::int64_t each() const;
};

// The loss of R rows from what B blocks say of them, on the host. lse [R,2] is what the backward of the loss' kernel
// takes for any block; loss [1]. Of one block they are what the block says.
struct JoinedLoss {
  Tensor lse, loss;
};
// parts [B,R,2]: log(1 + P_b) and log(1 + S_b); weights [R].
JoinedLoss joined_cluster_loss(const Tensor& parts, const Tensor& weights, double denominator);
// parts [B,R,3]: m_b, s_b and, of the label's block alone, its cross entropy (kernels/cross_entropy.h); a block of
// which nothing is drawn says nothing_drawn, 0, 0. owner: by row, the label's block.
constexpr float nothing_drawn = -1e30f;
JoinedLoss joined_cross_entropy(const Tensor& parts, const std::vector<std::int64_t>& owner, const Tensor& weights,
                                double denominator);

// What all ranks say, by rank: one number each.
std::vector<std::int64_t> said_by_all(Communicator& ranks, std::int64_t own);

}  // namespace ov
