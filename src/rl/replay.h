// A run of mode `disaggregated` again, from its log, to the same bits.
//
// The only thing about such a run that time decides is how far every answer was when the weights changed, and which
// groups a step took. Every line "step" of run.jsonl says it under "events" (RemoteRollouts::events). A token depends
// on the weights, the seed, its answer's number and its place, and not on who drew it beside what; so whoever draws the
// same tokens under the same version has them bit for bit, in one process or in any number of ranks.
//
// take(v) draws what the log says was drawn between update v and the next, no more and no less, and gives out what the
// log says was taken. machine_error where an answer ends elsewhere than the log says: it is the log of another run.
#pragma once
#include "rl/buffer.h"
#include "rl/event_log.h"

namespace ov::rl {

class ReplayedRollouts : public RolloutSource {
 public:
  // log: a run.jsonl. input_error as read_event_log (rl/event_log.h).
  ReplayedRollouts(const Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                   const BufferOptions& options, const std::string& log);
  Groups take(std::int64_t version, RolloutCounts& counts) override;
  Json events(const Groups& taken, std::int64_t version) const override;  // those of the log
  std::int64_t steps() const { return std::ssize(events_); }              // that the log has
  std::string fingerprint() const;                                        // of the events

 private:
  const Onevision& model_;
  const std::string log_;
  std::vector<StepEvents> events_;  // by version
};

}  // namespace ov::rl
