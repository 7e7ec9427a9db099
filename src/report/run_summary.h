// A stage's run.jsonl (train/run_log.h), read for the report.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

struct RunSummary {
  std::string name, path;
  Json about;  // the run line without its type: config, parameters, threads, peak_flops ...; null when there is none
  // One entry a logged step. A number that the log lacks, or null (what JSON has for NaN), is NaN.
  std::vector<double> step, loss, object_loss, text_loss, lr, gradient_norm;
  // What RL and DPO say of a step's answers: by these names; NaN in a run of another kind.
  static constexpr std::array policy_numbers = {"reward", "length", "entropy", "staleness",
                                                "clip",   "margin", "accuracy"};
  std::array<std::vector<double>, policy_numbers.size()> policy;
  std::int64_t last_step = 0;
  // Sums over the logged steps, which are all of them where log.every is 1.
  double seconds = 0, data_seconds = 0, flops = 0, tokens = 0, labelled = 0, patches = 0, samples = 0;
  double prompt_tokens = 0, shared_tokens = 0, row_tokens = 0;  // of RL (rl/objective.h)
  double sampling_flops = 0, reference_flops = 0;               // of RL, beside those of training
  double floor_seconds = 0, plain_floor_seconds = 0;            // 0 unless the log carries them
  Json times;                       // the line "times" (train/step_times.h); null when there is none
  std::string parameters_checksum;  // of the last step that has one
  std::int64_t resumed = 0;         // how often

  double flops_per_second() const { return seconds > 0 ? flops / seconds : 0; }
  double peak_flops() const;  // of the machine; 0 when the log does not say
};

// "1.23e12 FLOPs in 45 s", of all runs together; of RL what writing rollouts and reading them with the reference model
// take of it. Steps that were not logged (log.every) are not in it.
std::string compute_text(const std::vector<RunSummary>& runs);
std::string flops_text(double flops);  // 3.15e13

// Throws input_error: no such file, a line that is not JSON, "path:line: ..." for a step without a step number.
RunSummary read_run(const std::string& name, const std::string& path);

}  // namespace ov
