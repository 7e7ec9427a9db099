// A run of RL from directory to directory: the `rl` verb.
#pragma once
#include "rl/objective.h"
#include "train/stages/job.h"

namespace ov::rl {

struct RlJob : RunOptions {  // leaves out/model
  std::string model_dir, records, image_dir, keep;
  std::vector<std::string> templates;
  PolicyOptions policy;
  StepOptions train;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  bool train_class_params = true;
  LoadOptions load;
};

// Returns the last step's report. The trained model stands in out/model when it returns.
StepReport run_rl(const RlJob& job);

}  // namespace ov::rl
