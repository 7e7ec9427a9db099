// One turn of ranks that share class tables (parallel/classes.h): every rank's leaf against all classes, of which each
// has some. Only the sums over classes know that there are blocks; what becomes of a region and a class is as on one
// rank (train/objectives/cluster_discrimination.h).
#pragma once
#include "parallel/classes.h"
#include "train/objectives/cluster_discrimination.h"

namespace ov {

// A table in a step, as all ranks know it.
struct TurnTable {
  const std::vector<Parameter*>* blocks;  // of no rows where another rank holds them
  const ClassDraws* draws;
  const ClusterOptions* options;
  const std::vector<std::vector<LabelledRow>>* rows;  // by leaf
  std::int64_t regions;                               // of the step
  Tensor scalars;                                     // of this rank's leaf, as cluster_discrimination() writes them
};

ClassBlocks blocks_of(const TurnTable& table, int ranks);

struct ClassTurn {
  Communicator& ranks;
  std::vector<TurnTable> tables;
  std::int64_t leaf;                          // this rank's; -1: it has none
  std::vector<std::int64_t> regions_of_leaf;  // of the step
  bool tree;                                  // train.grad_sum
};

// directions [R,D] of this rank's leaf. Adds to tape.gradients() those of this rank's blocks for all leaves of the
// turn, and returns that of the directions. A call of all ranks.
Tensor discriminate_in_turn(const ClassTurn& turn, const Tensor& directions, Tape& tape);

}  // namespace ov
