// run.jsonl: what a run was and how every step went, one typed line each.
//
//   {"type":"run", "config":{...}, "parameters":N, "trained":N, what the run counts ("records":N, with train.recompute
//    auto "recomputed_blocks":N), "threads":N, "peak_flops":F (0: unknown), "revision":"..."}
//   {"type":"step", "step":1, "loss":..., the objective's parts ("token_loss":...), "lr":..., "gradient_norm":...,
//    "samples":..., "tokens":..., "labelled":..., "patches":..., "flops":..., "seconds":..., "data_seconds":...,
//    "tokens_per_second":..., "samples_per_second":..., "floor_seconds":..., "plain_floor_seconds":...,
//    "checksums":{...}, "mfu":...}
//   {"type":"memory", "step":1, "device":"cpu", "bytes":{"weights":N, ..., "all_at_once":N}}: highest of the step
//   {"type":"resume", "step":40, "revision":"...", "threads":N, "changed":{KEY:[OLD,NEW]}, "damaged":[...]}
//   {"type":"stop", "step":44, "signal":15}, {"type":"times", ...} (train/step_times.h), {"type":"end", ...}
// `changed`: keys that have another value than before; `damaged`: what could not be read of checkpoints and this log.
// Checksums are 16 hex digits: batch, loss, gradients, parameters (Σ mix64(index, bits) mod 2^64: base/hash.h).
#pragma once
#include <string>

#include "store/jsonl.h"
#include "train/engine.h"

namespace ov {

class RunLog {
 public:
  // Starts the file, or keeps its lines of at most `resume_after` steps. The first damaged line is cut off too, with
  // what follows it.
  RunLog(const std::string& path, std::int64_t resume_after);
  const std::string& damage() const { return damage_; }  // what that line was; empty when there was none
  bool has_run() const { return has_run_; }              // the line "run" stands
  void sync();                                           // to the disk: it survives a power cut
  void run(const Json& about);
  Json step(const StepReport& report, double peak_flops);  // returns the members of its line
  void note(const std::string& type, const Json& members);

 private:
  std::string path_, damage_;
  bool has_run_ = false;
  JsonlWriter file_;
};

// The last step's number and losses, as a log has them; an empty object where it has none.
Json last_step(const std::string& path);

// Products and attention only, without recomputation, over the time the step took and the measured peak of f32 of the
// cores that the run's ranks keep busy, which may be fewer than there are ranks. Not in the log where it is unknown.
double model_flops_utilisation(const StepReport& report, double peak_flops);

}  // namespace ov
