// Mode `disaggregated`: the last k ranks generate, the others train (spec: AReaL, arXiv 2505.24298).
//
//   trainer 0     begins groups as the gate allows (rl/buffer.h) and gives each to the generator that has fewest; takes
//                 the oldest b finished ones, hands them to the other trainers, and the step runs. Behind the update it
//                 holds the generators, hears how far every answer is, sends the new weights, and they go on
//   a generator   writes what it was given with the weights that it has, token by token, and scores what is finished.
//                 An answer that was held goes on from its tokens so far, read again with the new weights; each token
//                 has its own log-probability and the version of the weights that drew it
//
// When answers are finished depends on time, and so does a run. Everything else is a function of weights, seed and
// options; so the log of its events (RemoteRollouts::events) is all that a replay to the same bits needs (rl/replay.h).
//
// Weights travel in the model's type, in buckets of at most 1 GiB, from trainer 0 to all generators at once. Faults:
//
//   a generator is killed   another goes on with its groups, from their tokens at the last update; what it drew since
//                           is drawn again, to the same bits, and the log says which rank was lost. The last one's end
//                           ends the run
//   a trainer is killed     ends the run with its name (comm/process_ranks.h); the same command goes on from the last
//                           checkpoint, which knows how far every answer was at its update
//   a generator is silent   for comm.timeout seconds while it has work: ends the run with what it did last, since the
//                           others would hang in the same place. comm.timeout is longer than any pass and any step
//
// Trainer 0 is rank 0, which learns of every other's end (comm/meeting.h): hence trainers come first.
#pragma once
#include <map>
#include <set>

#include "comm/group.h"
#include "comm/inbox.h"
#include "rl/buffer.h"
#include "rl/mail.h"

namespace ov::rl {

// Which rank does what.
struct Roles {
  Roles(Communicator& world, int generators);  // input_error unless both kinds are there
  bool generates(int rank) const { return rank >= world.ranks() - generators; }
  bool generates() const { return generates(world.rank()); }
  std::vector<int> list() const;  // of the generators, lost ones too

  static constexpr int controller = 0;  // trainer 0
  Communicator& world;
  Inbox& inbox;
  int generators;
  ov::Group weights,
      trainers;  // trainer 0 and the generators; the trainers. Not to be used by ranks that are not in them
};

// The values of all parameters, from trainer 0 to the generators, one bucket of so many bytes at most after another. On
// GPUs they go from one to the other through NCCL (comm/nccl_ranks.h).
void hand_over_weights(Communicator& group, int from, const Tensor& values, std::int64_t bucket_bytes = 1 << 30);

// On the trainers.
class RemoteRollouts : public RolloutSource {
 public:
  // about: what the run is of; a generator that was given something else ends it.
  RemoteRollouts(Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                 const BufferOptions& options, Roles& roles, std::string about);
  Groups take(std::int64_t version, RolloutCounts& counts) override;
  void updated(std::int64_t version, RolloutCounts& counts) override;
  // {"begun": groups begun so far, "taken": numbers in their order, "tokens": their tokens' checksum, "drawn":
  // [[number, [tokens that each of its rollouts got under this version]] ...], "lost": generators, if any were}
  Json events(const Groups& taken, std::int64_t version) const override;
  void restore(const Json& state) override;
  void finish();  // the run is over: generators end

 private:
  void start(std::int64_t version);
  void hold();
  void send_weights(std::int64_t version);
  void give(const std::vector<Group*>& groups);
  bool any_lost() const;
  void go_on(std::int64_t version);
  void listen(const std::vector<int>& of);
  void hear(int from);
  Group* find(std::int64_t number) const;
  bool controls() const { return roles_.trainers.rank() == 0; }

  Onevision& model_;
  Roles& roles_;
  const std::string about_;
  std::vector<int> writers_;                       // generators that live, as far as is known
  std::vector<int> lost_;                          // since the last step was taken
  std::int64_t version_ = -1;                      // of the generators' weights
  std::map<std::int64_t, int> writer_of_;          // of the groups that are given to one
  std::map<int, std::pair<double, Letter>> last_;  // what each generator said last, and when
  std::set<int> held_;                             // generators that wait for weights
  RolloutCounts counts_;
};

// On a generator, until the run is over.
void run_generator(Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                   const BufferOptions& options, Roles& roles, std::string about);

}  // namespace ov::rl
