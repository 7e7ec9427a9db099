// Whether a planned step fits one device, how long it takes there, and what would help where it does not.
//
//   time = (forward + backward + recomputed FLOPs) / (mfu · peak) + bytes of the update / bandwidth
//          + bytes of a state on the host / link, there and back
//
// Recomputation costs time, so no more of it than the memory asks for: plan_on may choose how many of the model's
// blocks, the first that run, by rehearsing the step with none, one, two ... until it fits. All of them give the same
// bits.
// On the machine that plans, without a stated mfu: the step's floor (train/floor.h), from rates measured now.
#pragma once
#include <functional>
#include <map>
#include <optional>

#include "audit/plan.h"

namespace ov {

// A row of configs/devices.json, which says what its numbers mean.
struct DeviceFacts {
  std::string name, about;
  bool measured = false;
  double memory = 0;                        // bytes that a run may take
  std::map<std::string, double> peak = {};  // FLOP/s by type
  double bandwidth = 0, link = 0;           // bytes a second
  double mfu = 0;                           // 0: nothing is stated
  int node = 0;                             // devices of one machine; 0: as many as there are
  std::string inside = {}, between = {};    // its links, rows of configs/links.json
};

// In the table's order. input_error with the file, the device and the key.
std::vector<DeviceFacts> read_devices(const std::string& table);
// The row of that name; what is to be measured, is.
DeviceFacts find_device(const std::string& table, const std::string& name);

// How many of a model's blocks are recomputed: none, one, two ... until `step` is missing nothing; else all that there
// are. The last step that is made is the one that is answered.
struct TriedStep {
  std::int64_t missing = 0, blocks = 0;  // bytes; of the model
};
std::int64_t fewest_recomputed(const std::function<TriedStep(std::int64_t recomputed)>& step);
// The same for a run: steps like options.rows, on this rank of options.ranks, in `memory` bytes.
struct FittedRun {
  std::int64_t recomputed = 0, blocks = 0, bytes = 0;  // of the model; that the step takes
};
FittedRun fit_run(const ModelConfig& config, PlanOptions options, std::int64_t memory);

// Seconds of an update by the optimiser, and of bringing its state from the host's memory and back.
double update_seconds(const DeviceFacts& device, const Plan& plan, const PlanOptions& options);

// What may make a step smaller, by the keys that a user gives: those that are not on already.
struct MemoryKey {
  std::string key, value;  // "--parallel.zero" and "=2"
  std::function<void(PlanOptions&)> change;
};
std::vector<MemoryKey> memory_keys(const PlanOptions& options, std::int64_t blocks);
// Of these keys each by itself, where it saves, and at last all that do together. try_keys makes the step: true if it
// is smaller. Of one key's values the last that saves counts.
void try_memory_keys(const std::vector<MemoryKey>& keys, const PlanOptions& options,
                     const std::function<bool(const std::string& keys, const PlanOptions&)>& try_keys);

struct DevicePlan {
  struct Step {
    Plan plan;
    double seconds = 0;
    std::int64_t missing = 0;  // bytes; 0 or less: it fits
  };
  struct Remedy {
    std::string keys;
    Step step;
  };
  DeviceFacts device;
  double mfu = 0;  // that was used; 0: measured rates
  Step step;
  std::optional<std::int64_t> recomputed;  // blocks, where that was to be chosen: the fewest that fit, else all
  std::vector<Remedy> remedies;  // where the step is too large: each that saves memory, by itself, and then all

  std::string report() const;  // follows Plan::report()
};
// The same step again with every remedy, by the same engine. `mfu` 0: as the device says. choose: how many blocks are
// recomputed, in place of what options say.
using Planner = std::function<Plan(const PlanOptions&)>;
DevicePlan plan_on(const DeviceFacts& device, const Planner& plan, const PlanOptions& options, double mfu,
                   bool choose = false);
inline DevicePlan plan_on(const DeviceFacts& device, const ModelConfig& config, const PlanOptions& options, double mfu,
                          bool choose = false) {
  return plan_on(
      device, [&](const PlanOptions& o) { return plan_model(config, o); }, options, mfu, choose);
}

}  // namespace ov
