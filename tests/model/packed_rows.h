// Rows of several samples, branches on a shared prefix, and what the model makes of them, for tests of the whole.
#pragma once
#include <cstring>
#include <vector>

#include "data/normalise.h"
#include "data/source.h"
#include "tensor/transfer.h"
#include "tests/model/small_model.h"
#include "train/objectives/language.h"

namespace ov::test {

// A branch of segment `prefix`: random text of the same sample, all of it labelled but the first token.
inline void add_branch(MicroBatch& b, std::uint64_t seed, std::int64_t prefix, std::int64_t text) {
  const Philox random(seed, "test branch");
  const auto at = static_cast<std::size_t>(prefix);
  const std::int64_t begin = b.tokens(), after = b.segments[at].length;
  for (std::int64_t i = 0; i < text; ++i) {
    const auto id = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i), 96));
    b.input_ids.push_back(id);
    b.labels.push_back(i > 0 ? id : ignored_label);
    b.positions.push_back(after + i);
  }
  b.segments.push_back({begin, text, prefix});
  b.sample_of_segment.push_back(b.sample_of_segment[at]);
}

// Two pictures, a prefix with two branches, and text without a picture: everything that a row can hold.
inline MicroBatch mixed_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 2, 4, 8);
  add_branch(b, seed + 1, 0, 6);
  add_branch(b, seed + 2, 0, 9);
  add_sample(b, seed + 3, 4, 4, 12);
  add_sample(b, seed + 4, 0, 0, 11);
  return b;
}

// Rows joined to one.
inline MicroBatch joined(const std::vector<MicroBatch>& rows) {
  MicroBatch out;
  std::vector<Tensor> pixels;
  std::int64_t patches = 0;
  for (const MicroBatch& b : rows) {
    const auto segments = static_cast<std::int64_t>(out.segments.size());
    for (const TokenSegment& s : b.segments)
      out.segments.push_back({out.tokens() + s.begin, s.length, s.prefix < 0 ? -1 : segments + s.prefix});
    for (const std::int64_t s : b.sample_of_segment) out.sample_of_segment.push_back(out.samples + s);
    out.samples += b.samples;
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(out.input_ids, b.input_ids);
    append(out.labels, b.labels);
    append(out.positions, b.positions);
    append(out.grids, b.grids);
    if (b.pixel_values) pixels.push_back(b.pixel_values), patches += b.pixel_values.dim(0);
  }
  if (pixels.empty()) return out;
  out.pixel_values = Tensor({patches, pixels[0].dim(1)}, Dtype::f32, cpu(), Segment::data);
  std::int64_t row = 0;
  for (const Tensor& p : pixels) {
    out.pixel_values.slice(0, row, row + p.dim(0)).copy_from(p);
    row += p.dim(0);
  }
  return out;
}

// Logits of every row, without a tape.
inline Tensor logits_of(const Onevision& model, const MicroBatch& b) {
  const Parameters& p = model.parameters();
  return model.logits(model.hidden(nullptr, model_inputs(b, p.dtype(), p.device()))).value;
}

// One micro-batch; its gradients are added to `gradients`, null: forward only.
struct MicroBatchResult {
  double loss = 0;
  Tape::Products products;
};
inline MicroBatchResult run_micro_batch(const Onevision& model, const MicroBatch& batch, const LossTargets& targets,
                                        double denominator, const Tensor& gradients) {
  Tape tape(gradients);
  const LanguageLoss l = language_loss(model, tape, batch, targets, denominator);
  if (gradients) backward_from(tape, std::span(&l.loss, 1));
  return {read_scalar(l.loss.value), tape.products()};
}

// Loss of a step and its gradients.
struct LossAndGradients {
  double loss = 0;
  Tensor gradients;
};
inline LossAndGradients loss_and_gradients(const Onevision& model, const GlobalStep& step, NormaliseBy by) {
  LossAndGradients out{0, model.parameters().gradient_buffer()};
  out.gradients.zero();
  const StepTargets targets = loss_targets(step, by);
  for (std::size_t i = 0; i < step.micro_batches.size(); ++i)
    out.loss +=
        run_micro_batch(model, step.micro_batches[i], targets.micro_batches[i], targets.denominator, out.gradients)
            .loss;
  return out;
}

// Always the same steps, given in turn.
class FixedSteps : public StepSource {
 public:
  explicit FixedSteps(std::vector<GlobalStep> steps) : steps_(std::move(steps)) {}
  GlobalStep next() override { return steps_[static_cast<std::size_t>(at_++) % steps_.size()]; }
  Json state() const override { return Json(at_); }
  void restore(const Json& state) override { at_ = state.as_int(); }

 private:
  std::vector<GlobalStep> steps_;
  std::int64_t at_ = 0;
};

struct OwnedObjective {
  LanguageObjective objective;
};
// The engine with the language objective that it drives.
struct Training : OwnedObjective, StepEngine {
  Training(Onevision& model, StepSource& data, const TrainOptions& options)
      : OwnedObjective{{model, data, options}}, StepEngine(objective, options) {}
};

}  // namespace ov::test
