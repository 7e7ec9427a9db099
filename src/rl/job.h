// A run of RL from directory to directory: the `rl` verb.
#pragma once
#include "rl/objective.h"
#include "rl/preference_objective.h"
#include "train/stages/job.h"

namespace ov::rl {

// sync, timesliced: every rank draws the same rollouts (rl/buffer.h). colocated: every rank draws its share of a step's
// (mode colocated-dp). disaggregated: some ranks draw, the others train (rl/disaggregated.h).
enum class Mode { sync, timesliced, colocated, disaggregated };

struct RlJob : RunOptions {  // leaves out/model
  std::string model_dir, records, image_dir, keep;
  std::vector<std::string> templates;
  Mode mode = Mode::sync;
  int generators = 1;  // disaggregated: so many ranks
  std::string events;  // disaggregated: the run.jsonl of a run that is repeated (rl/replay.h), in any number of ranks
  PolicyOptions policy;
  std::optional<PreferenceRun> preferences;  // in its place: DPO on records of preferences
  StepOptions train;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  bool train_class_params = true;
  bool recompute = false;                      // no activations are kept within blocks: same bits
  std::int64_t recompute_first = every_block;  // of them, the first so many
  LoadOptions load;
};

// Returns the last step's report, on a rank that generates an empty one. The trained model stands in out/model when it
// returns.
StepReport run_rl(const RlJob& job);

}  // namespace ov::rl
