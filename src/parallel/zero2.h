// ZeRO, stage 2: as stage 1, and gradients are sharded between micro-batches too. Leaf i N + r of a step belongs to
// rank r; after every round of N leaves each rank keeps the sum of its own shard, and the whole buffer is free again.
//
//   g_shard = Σ_i reduce_scatter_r(g_{iN+r})     a tree over the rounds i of trees over N leaves
//
// The sum of a round is a node of the tree over all leaves when N is a power of two, which is therefore demanded.
//
// Overlap with backward (parallel/overlap.h): as in stage 1, of every leaf.
//
// Bytes that leave a rank in a step of L leaves:
//   reduce_scatter   (N-1)/N P a for each leaf of its own: L / N times as much as stage 1, for less memory
//   squares, values  as stage 1
// What is held: values of all P, one whole gradient buffer, the log2(L/N) + 1 buffers of the sum, the moments and the
// masters of P / N. Stage 1 holds log2(L/N) + 1 whole buffers.
#pragma once
#include "parallel/zero1.h"

namespace ov {

class Zero2 : public Zero1 {
 public:
  // input_error, which names the stage, unless there are 2^k ranks.
  Zero2(Communicator& ranks, Parameters& parameters, int stage = 2);
  std::vector<Round> rounds(std::int64_t leaves, int rank) const override;
};

}  // namespace ov
