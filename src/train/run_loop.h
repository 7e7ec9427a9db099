// The loop that every training run shares: goes on from the newest checkpoint in `out`, if there is one, to the last
// step; writes out/run.jsonl and out/checkpoints/ on the way and shows its progress.
#pragma once
#include <functional>
#include <string>

#include "train/checkpoint.h"

namespace ov {

struct RunOptions {
  std::string out, name = "train";  // `name` stands before the progress bar
  std::int64_t save_every = 0, keep = 2, log_every = 1;
  bool resume = true;
  Json about;  // for the log's first line and the checkpoints: configuration, counts
};

// What the loop drives.
class Steps {
 public:
  struct Step {
    StepReport report;
    Json more = Json::object();  // members of the log's line that this kind of run has beside the others
    std::string note;            // behind the progress bar; empty: loss, rate, MFU
  };
  virtual ~Steps() = default;
  virtual Step step() = 0;
  virtual std::int64_t done() const = 0;
  virtual std::int64_t total() const = 0;
  virtual TrainingState state() = 0;
  virtual void restore(const TrainingState& state) = 0;
  virtual const StepTimes& times() const = 0;
};

// `finish`, called behind the last step, exports what was trained and returns the members of the log's last line.
// Throws input_error when there is a checkpoint and options.resume is false.
StepReport run_to_end(Steps& steps, const RunOptions& options, const std::function<Json()>& finish);
StepReport run_to_end(Trainer& trainer, const RunOptions& options, const std::function<Json()>& finish);

}  // namespace ov
