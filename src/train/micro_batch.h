// Forward and backward of one micro-batch.
#pragma once
#include "data/batch.h"
#include "data/normalise.h"
#include "model/onevision.h"
#include "train/floor.h"
#include "train/step_times.h"

namespace ov {

struct MicroBatchResult {
  double loss = 0;        // Σ w ce / D: this micro-batch's part of what is optimised
  double token_loss = 0;  // Σ ce over labelled tokens, unweighted
  std::int64_t labelled = 0;
  std::int64_t products = 0, recomputed_products = 0;  // multiply-adds, forward and backward
  BatchTimes times;                                    // when a floor was asked for
};

OnevisionInputs model_inputs(const MicroBatch& batch, Dtype dtype, Device& device);

// Adds the gradients to `gradients`, laid out as Parameters::gradients(); null: forward only. A tracer sees every
// activation; a floor measures what the pass could take at the least, and then what it took.
MicroBatchResult run_micro_batch(const Onevision& model, const MicroBatch& batch, const LossTargets& targets,
                                 double denominator, const Tensor& gradients, Tracer* tracer = nullptr,
                                 Floor* floor = nullptr);

}  // namespace ov
