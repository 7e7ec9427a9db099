// Training checkpoints: everything that a run needs to go on with the same bits.
//
//   <out>/checkpoints/step-00000040/
//     model.safetensors        parameters, HF's names on disk
//     optimizer.safetensors    m and v, flat, in the order of the trained parameters; in the metadata their names and
//                              the step count
//     state.json               step, loader state, and the run's configuration
//     DONE                     written last (base/durable_directory.h)
#pragma once
#include <optional>
#include <string>

#include "train/trainer.h"

namespace ov {

// What a run of any kind consists of.
struct TrainingState {
  Parameters& parameters;
  Optimizer& optimizer;
  std::int64_t step = 0;  // done
  Json data = {};         // where the loader stands
};

// `about`: configuration and counts, stored as they are.
void save_checkpoint(const std::string& out, const TrainingState& state, const Json& about);
void save_checkpoint(const std::string& out, const Trainer& trainer, const Json& about);
// The newest complete one, or nothing. What a cut save left behind is finished or ignored.
std::optional<std::string> newest_checkpoint(const std::string& out);
// Restores parameters, optimiser, step and loader. input_error when it belongs to another model or freeze set.
void load_checkpoint(const std::string& directory, TrainingState& state);
void load_checkpoint(const std::string& directory, Trainer& trainer);
// Removes all but the newest `keep`, and what was cut while it was saved or removed. Not while a save is under way.
void prune_checkpoints(const std::string& out, std::int64_t keep);

}  // namespace ov
