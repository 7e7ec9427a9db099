// The rollouts under way between the updates of a policy, and the gate that says when a prompt may be begun (AReaL,
// arXiv 2505.24298). With b prompts a step, v updates done, η steps of staleness allowed:
//
//   capacity = min(most - running, (η + v + 1) b - (accepted + running))      groups that may begin
//
// accepted: groups that were ever finished. η = 0: the b groups of a step are begun and finished between two updates
// (mode sync). η > 0 (mode timesliced): a step takes the first b of the finished groups, in the order in which they
// were begun, while others are half written: after the update these go on from their tokens so far, read again with
// the new weights. An answer may then hold tokens of several versions; each is stamped. The bound is on when a group
// begins: a straggler may be taken more than η updates later.
//
// What is taken depends on the weights, the seed and the options alone.
#pragma once
#include <deque>

#include "rl/prompt_order.h"
#include "rl/rollout.h"

namespace ov::rl {

struct BufferOptions {
  std::int64_t prompts = 32;       // b
  std::int64_t staleness = 0;      // η
  std::int64_t most_groups = 256;  // that are written at once
  std::uint64_t seed = 219;
  RolloutOptions rollouts = {};
  PixelLimits limits = {};
};

std::int64_t gate_capacity(const BufferOptions& options, std::int64_t version, std::int64_t accepted,
                           std::int64_t running);

class RolloutBuffer {
 public:
  RolloutBuffer(const Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                const BufferOptions& options);
  // The b groups of the next step, scored: the oldest finished ones, after writing until there are so many. version:
  // updates done.
  std::vector<std::unique_ptr<Group>> take(std::int64_t version, RolloutCounts& counts);
  // What is begun and not taken, to go on with.
  Json state() const;
  void restore(const Json& state);

 private:
  const Onevision& model_;
  const Processor& processor_;
  const RecordFile& records_;
  PromptOrder order_;
  BufferOptions options_;
  std::deque<std::unique_ptr<Group>> groups_;  // begun and not taken, the oldest first
  std::int64_t begun_ = 0;                     // ever
};

}  // namespace ov::rl
