// The rollouts under way between the updates of a policy, and the gate that says when a prompt may be begun (AReaL,
// arXiv 2505.24298). With b prompts a step, v updates done, η steps of staleness allowed:
//
//   capacity = min(most - running, (η + v + 1) b - (accepted + running))      groups that may begin
//
// accepted: groups that were ever finished. A step takes the first b of the finished groups, in the order in which they
// were begun, while others are half written: after the update these go on from their tokens so far, read again with
// the new weights. An answer may then hold tokens of several versions; each is stamped. The bound is on when a group
// begins: a straggler may be taken more than η updates later.
//
// A RolloutSource is one way to come by them: in this process (RolloutBuffer), on other ranks (rl/disaggregated.h), or
// as a log says that it went (rl/replay.h).
#pragma once
#include <deque>

#include "comm/communicator.h"
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

using Groups = std::vector<std::unique_ptr<Group>>;
std::string tokens_checksum(const Groups& groups);  // of all their rollouts' tokens, in order; 16 hex digits

class RolloutSource {
 public:
  RolloutSource(const Processor& processor, const RecordFile& records, PromptOrder order, const BufferOptions& options);
  virtual ~RolloutSource() = default;
  // The b groups of the next step, finished and scored, with their prompts. version: updates done. Ranks that train
  // together call it together and get the same.
  virtual Groups take(std::int64_t version, RolloutCounts& counts) = 0;
  // Behind the optimiser's step, on the first of the ranks that train: the weights are of `version` now. counts gets
  // what was written since take(), by others.
  virtual void updated(std::int64_t version, RolloutCounts& counts) {
    static_cast<void>(version), static_cast<void>(counts);
  }
  // What of the interval between two updates only its log can tell (rl/replay.h); null where nothing is.
  virtual Json events(const Groups& taken, std::int64_t version) const {
    return static_cast<void>(taken), static_cast<void>(version), Json();
  }
  // What is begun and not taken, to go on with.
  Json state() const;
  virtual void restore(const Json& state);

 protected:
  std::unique_ptr<Group> make(std::int64_t number);  // without a prompt
  Group& begin();                                    // the next
  std::int64_t running() const;                      // groups that are begun and not finished
  std::int64_t room(std::int64_t version) const;     // how many may begin: the gate
  Groups oldest_finished();                          // b of them, which leave
  // Prompts where they are missing, rewards where they are.
  void complete(const Groups& groups, RolloutCounts& counts) const;

  const Processor& processor_;
  const RecordFile& records_;
  PromptOrder order_;
  BufferOptions options_;
  std::deque<std::unique_ptr<Group>> groups_;  // begun and not taken, the oldest first
  std::int64_t begun_ = 0;                     // ever
};

// η = 0: the b groups of a step are begun and finished between two updates (mode sync; with `share` mode colocated-dp,
// in which each of the ranks writes every n-th of the groups and hands them to the others: the same bits). η > 0 (mode
// timesliced): decoding stops when there are b finished groups. What is taken depends on the weights, the seed and the
// options alone.
class RolloutBuffer : public RolloutSource {
 public:
  // share: ranks that divide the groups of η = 0 among themselves.
  RolloutBuffer(const Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                const BufferOptions& options, Communicator& share = one_rank());
  // b groups, after writing until there are so many finished ones.
  Groups take(std::int64_t version, RolloutCounts& counts) override;

 private:
  void exchange(RolloutCounts& counts);

  const Onevision& model_;
  Communicator& share_;
};

}  // namespace ov::rl
