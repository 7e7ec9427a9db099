// AdamW over the flat buffers, with global gradient clipping.
//
// Moments and masters lie with the parameters, or on another device, the host (train.offload_optimizer). An update then
// brings them over range by range, through one buffer: 12 bytes for each parameter of a range (f32 with masters; 8 with
// moments in bf16) take the place of as many for each that is trained. Elements do not see each other: same bits.
#pragma once
#include <string>
#include <vector>

#include "parallel/pipeline.h"

namespace ov {

// What the moments are kept in (kernels/adamw.h): the type of the gradients' sums; or bf16, a half of that or less,
// rounded to the nearest or by chance.
enum class Moments { full, bf16, bf16_stochastic };

struct OptimizerOptions {
  double beta1 = 0.9, beta2 = 0.99, eps = 1e-5, weight_decay = 0;
  double clip_grad = 1;  // global L2 limit; 0 turns it off
  Moments moments = Moments::full;
  std::uint64_t seed = 1;             // of moments that are rounded by chance
  std::vector<std::string> no_decay;  // parts of names, besides biases and one-dimensional parameters
  double visual_lr_scale = 1;         // of the vision model's learning rate
  Device* state_on = nullptr;         // where moments and masters lie; null: where the parameters are
  std::int64_t range = 1 << 22;       // elements that are brought over at a time
};

class Optimizer {
 public:
  // `own`: the range of the trained parameters that it updates and holds moments of; the default is all of them.
  Optimizer(Parameters& parameters, const OptimizerOptions& options);
  Optimizer(Parameters& parameters, const OptimizerOptions& options, Range own);

  // One update from `gradients`, those of its own range. norm [1] f64 on their device: the norm of all of them before
  // clipping is written there, for the host to read late. Not finite: nothing is changed but the count of steps.
  // `complete`: fills in the squares of other ranges' chunks (parallel/data.h).
  using Complete = std::function<void(const Tensor& squares)>;
  // whole: where other ranks hold other parts of the model, in place of chunks of this rank's own.
  void step(const Tensor& gradients, double lr, const Tensor& norm, const Complete& complete = {},
            const WholeChunks* whole = nullptr);

  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t n) { steps_ = n; }
  const Range& own() const { return own_; }
  const Tensor& first_moment() const { return m_; }
  const Tensor& second_moment() const { return v_; }

 private:
  struct Group {
    std::int64_t begin, count, gradient_begin;
    double weight_decay, lr_scale;
  };
  Parameters& parameters_;
  OptimizerOptions options_;
  Range own_;
  std::vector<Group> groups_;
  Tensor m_, v_;
  std::int64_t steps_ = 0;
};

// √Σ g², by fixed chunks.
double gradient_norm(const Tensor& gradients);

}  // namespace ov
