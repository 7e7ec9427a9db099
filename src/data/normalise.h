// Labels to the loss op's inputs: which id each row of logits predicts, its weight w_t, and the denominator D of
//
//   loss = Σ_t w_t ce_t / D                                             over all micro-batches of a step
//
// loss.normalise_by (the original's loss, and two repairs of it):
//   micro_batch_mean    w = 1 / k of the micro-batch, D = micro-batches of the step: the original. A micro-batch of few
//                       labelled tokens counts as much as one of many.
//   global_token_mean   w = 1, D = labelled tokens of the step: does not depend on how samples are put together
//   sample_mean         w = 1 / k of the sample, D = samples of the step that have labels: a short answer counts as
//                       much as a long one, packed or not. A record with branches is one sample.
// k is the number of labelled tokens. Where there are none, there are no weights, and D counts what is there: nothing
// is divided by zero, and the loss op gives 0 for D = 0.
//
// Token t is predicted by row t - 1 of its own segment. The loss never crosses a border between segments: a label on a
// segment's first token is an error, whoever made it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/batch.h"

namespace ov {

enum class NormaliseBy { micro_batch_mean, global_token_mean, sample_mean };
NormaliseBy normalise_by(const std::string& name);  // throws input_error on another name
const char* name_of(NormaliseBy by);

struct LossTargets {
  std::vector<std::int64_t> targets;  // [T] the id that row t predicts, ignored_label where none
  std::vector<double> weights;        // [T] 0 where none
  std::vector<std::int64_t> rows;     // those with a target, ascending
};

struct StepTargets {
  std::vector<LossTargets> micro_batches;
  double denominator = 0;  // an integer: ranks add theirs up
};

// Throws input_error when segments do not cover the row one after the other, a label stands on a segment's first token,
// or a label is not the id at its own position.
StepTargets loss_targets(const GlobalStep& step, NormaliseBy by);

}  // namespace ov
