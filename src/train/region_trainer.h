// The training loop of the vision tower: one optimiser step of region cluster discrimination.
//
// A step's micro-batches run side by side, each on a thread; their gradients are added as a tree, so that the bits do
// not depend on threads. The thread that runs out of micro-batches prepares the next step's pictures.
#pragma once
#include <exception>
#include <memory>
#include <optional>

#include "data/load/region_loader.h"
#include "model/region_head.h"
#include "train/checkpoint.h"
#include "train/cluster_discrimination.h"
#include "train/trainer.h"

namespace ov {

struct RegionTrainOptions {
  std::int64_t steps = 100;
  Schedule schedule;  // its `steps` is set from the above
  OptimizerOptions optimizer;
  ClusterOptions objects, characters;
  std::uint64_t seed = 1;           // of the class draws
  std::int64_t checksum_every = 1;  // steps; 0: never
  bool floor = false;               // measure the least time of every step (train/floor.h)
};

struct RegionStepReport {
  StepReport step;                        // labelled: labels of all regions; tokens: 0
  double object_loss = 0, text_loss = 0;  // means over the step's regions of each kind
  std::int64_t objects = 0, texts = 0;    // regions
  double object_accuracy = 0;             // share of regions whose class is the nearest drawn centre
  double text_recall = 0;                 // share of a string's n different characters among its n nearest centres
};

class RegionTrainer {
 public:
  RegionTrainer(RiceModel& model, RegionLoader& data, const RegionTrainOptions& options);
  // Throws machine_error when the loss or a gradient is not finite, and names the parameter.
  RegionStepReport step();

  std::int64_t steps_done() const { return done_; }
  const Tensor& gradients() const { return gradients_; }  // of the last step, laid out as Parameters::gradients()
  const StepTimes& times() const { return times_; }       // of this process's steps, when a floor was asked for
  // For a checkpoint; its data is the loader's state and a fingerprint of the labels' names. The loader itself may be a
  // step ahead.
  TrainingState state();
  void restore(const TrainingState& state);

 private:
  // A step's data and where the loader stood behind it, or why there is none: that step's error, not an earlier one's.
  struct Prepared {
    RegionStep data;
    RegionLoaderState loader;
    std::exception_ptr error;
  };
  Prepared prepare();

  RiceModel& model_;
  RegionLoader& data_;
  RegionTrainOptions options_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Floor> floor_;
  StepTimes times_;
  Tensor gradients_;
  std::optional<Prepared> prepared_;  // of the step to come
  RegionLoaderState loader_state_;    // behind the last step that is done
  std::int64_t done_ = 0;
};

}  // namespace ov
