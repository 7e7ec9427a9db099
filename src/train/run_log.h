// run.jsonl: what a run was and how every step went, one typed line each.
//
//   {"type":"run", "config":{...}, "parameters":N, "trained":N, "threads":N, "peak_flops":F}
//   {"type":"step", "step":1, "loss":..., "token_loss":..., "lr":..., "gradient_norm":..., "samples":..., "tokens":...,
//    "labelled":..., "patches":..., "flops":..., "seconds":..., "data_seconds":..., "floor_seconds":..., "mfu":...,
//    "checksums":{...}}
//   {"type":"resume", "step":40}, {"type":"times", ...} (train/step_times.h), {"type":"end", ...}
// Checksums are 16 hex digits: batch, loss, gradients, parameters (Σ mix64(index, bits) mod 2^64: base/hash.h).
#pragma once
#include <string>

#include "store/jsonl.h"
#include "train/trainer.h"

namespace ov {

class RunLog {
 public:
  // Starts the file, or cuts what lies behind `resume_after` steps off and goes on.
  RunLog(const std::string& path, std::int64_t resume_after);
  void run(const Json& about);
  // `more`: members that one kind of run has beside the others.
  void step(const StepReport& report, double peak_flops, const Json& more = Json::object());
  void note(const std::string& type, const Json& members);

 private:
  JsonlWriter file_;
};

std::string hex16(std::uint64_t value);
// Products and attention only, without recomputation, over the time the step took and the machine's measured FMA peak.
double model_flops_utilisation(const StepReport& report, double peak_flops);

}  // namespace ov
