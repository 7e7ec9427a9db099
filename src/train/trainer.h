// The training loop: one optimiser step is a global step of micro-batches, whose gradients are added in a fixed order.
#pragma once
#include <functional>
#include <memory>
#include <optional>

#include "data/source.h"
#include "model/onevision.h"
#include "train/gradient_sum.h"
#include "train/micro_batch.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace ov {

struct TrainOptions {
  std::int64_t steps = 100;
  Schedule schedule;  // its `steps` is set from the above
  OptimizerOptions optimizer;
  NormaliseBy normalise_by = NormaliseBy::global_token_mean;
  bool tree = true;          // train.grad_sum: tree, or chain
  bool side_by_side = true;  // micro-batches on one thread each, when there are enough of them and grad_sum is tree
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  bool train_class_params = true;   // the original keeps class_embedding and class_pos_emb frozen
  std::int64_t checksum_every = 1;  // steps; 0: never
  bool floor = false;               // measure the least time of every step (train/floor.h)
};

// Which parameters a freeze set trains: names as the original's --trainable-modules.
std::function<bool(const std::string& name)> trainable(const std::vector<std::string>& modules, bool class_params);

struct Checksums {
  std::uint64_t batch = 0, loss = 0, gradients = 0, parameters = 0;
};

struct StepReport {
  std::int64_t step = 0;  // from 1
  double loss = 0;        // what is optimised
  double token_loss = 0;  // mean over the step's labelled tokens
  double lr = 0, gradient_norm = 0;
  std::int64_t samples = 0, tokens = 0, labelled = 0, patches = 0;
  std::int64_t products = 0;                                // multiply-adds without recomputation
  double seconds = 0, data_seconds = 0, floor_seconds = 0;  // floor: 0 unless asked for
  std::optional<Checksums> checksums;
};

class Trainer {
 public:
  Trainer(Onevision& model, StepSource& data, const TrainOptions& options);
  StepReport step();

  std::int64_t steps_done() const { return done_; }
  Optimizer& optimizer() const { return *optimizer_; }
  Onevision& model() const { return model_; }
  StepSource& data() const { return data_; }
  const TrainOptions& options() const { return options_; }
  const StepTimes& times() const { return times_; }  // of this process's steps, when a floor was asked for
  void resumed_at(std::int64_t step) { done_ = step; }

  // Gradients of a whole step, as its micro-batches [begin, end) give them: the leaves of the tree that a rank would
  // own.
  struct Sum {
    Tensor gradients;
    std::vector<MicroBatchResult> results;
  };
  Sum accumulate(const GlobalStep& data, std::size_t begin, std::size_t end);

 private:
  [[noreturn]] void report_not_finite(const GlobalStep& data);
  Onevision& model_;
  StepSource& data_;
  TrainOptions options_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Floor> floor_;
  StepTimes times_;
  std::int64_t done_ = 0;
};

}  // namespace ov
