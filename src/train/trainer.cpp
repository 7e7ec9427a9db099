#include "train/trainer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>

#include "base/parallel.h"
#include "base/sum.h"
#include "base/text.h"
#include "train/checksums.h"

namespace ov {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::uint64_t batch_checksum(const GlobalStep& step) {
  ChecksumOfArrays sum;
  for (const MicroBatch& b : step.micro_batches) {
    sum.add(b.input_ids.data(), b.tokens());
    sum.add(b.labels.data(), b.tokens());
    sum.add(b.positions.data(), b.tokens());
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
  }
  return sum.value;
}

class FiniteCheck : public Tracer {
 public:
  void activation(const std::string& name, const Tensor& value) override {
    if (!first.empty()) return;
    by_dtype(value.dtype(), [&](auto v) {
      for (const auto x : value.to_vector<decltype(v)>())
        if (!std::isfinite(x)) first = name;
    });
  }
  std::string first;
};

}  // namespace

std::function<bool(const std::string& name)> trainable(const std::vector<std::string>& modules, bool class_params) {
  bool language = false, adapter = false, vision = false;
  for (const std::string& m : modules) {
    if (m == "language_model") language = true;
    else if (m == "adapter") adapter = true;
    else if (m == "vision_model") vision = true;
    else
      input_error("train.modules: '", m, "' is none of language_model, adapter, vision_model",
                  did_you_mean(m, {"language_model", "adapter", "vision_model"}));
  }
  return [=](const std::string& name) {
    if (name.starts_with("model.visual.merger.")) return adapter;
    if (name.starts_with("model.visual.class_")) return vision && class_params;
    if (name.starts_with("model.visual.")) return vision;
    return language;
  };
}

Trainer::Trainer(Onevision& model, StepSource& data, const TrainOptions& options)
    : model_(model), data_(data), options_(options) {
  options_.schedule.steps = options.steps;
  model.parameters().train(trainable(options.modules, options.train_class_params));
  if (model.parameters().gradients().numel() == 0) input_error("train.modules: nothing is trained");
  optimizer_ = std::make_unique<Optimizer>(model.parameters(), options.optimizer);
  if (options.floor) floor_ = std::make_unique<Floor>();
}

Trainer::Sum Trainer::accumulate(const GlobalStep& data, std::size_t begin, std::size_t end) {
  const StepTargets loss = loss_targets(data, options_.normalise_by);
  const Parameters& parameters = model_.parameters();
  Sum sum;
  sum.results.resize(end - begin);
  const auto run = [&](std::size_t i, const Tensor& gradients) {
    sum.results[i - begin] = run_micro_batch(model_, data.micro_batches[i], loss.micro_batches[i], loss.denominator,
                                             gradients, nullptr, floor_.get());
  };
  if (!options_.tree) {
    sum.gradients = parameters.gradients();
    sum.gradients.zero();
    for (std::size_t i = begin; i < end; ++i) run(i, sum.gradients);
    return sum;
  }
  TreeSum tree(parameters.gradients().shape(), parameters.gradients().dtype(), parameters.device());
  // Side by side: as many micro-batches at a time as there are threads, each on one of them. The same leaves, the
  // same tree.
  const auto width = static_cast<std::size_t>(options_.side_by_side ? std::max(1, threads()) : 1);
  const auto run_leaf = [&](std::size_t i, const Tensor& gradients) {
    gradients.zero();
    run(i, gradients);
  };
  for (std::size_t i = begin; i < end;) {
    const std::size_t together = end - i >= width ? width : 1;
    std::vector<Tensor> leaves;
    for (std::size_t k = 0; k < together; ++k) leaves.push_back(tree.leaf());
    if (together == 1) run_leaf(i, leaves[0]);
    else
      parallel_for(static_cast<std::int64_t>(together), [&](std::int64_t k) {
        run_leaf(i + static_cast<std::size_t>(k), leaves[static_cast<std::size_t>(k)]);
      });
    for (const Tensor& leaf : leaves) tree.add(leaf);
    i += together;
  }
  sum.gradients = tree.finish();
  return sum;
}

StepReport Trainer::step() {
  StepReport report;
  const double start = now();
  const GlobalStep data = data_.next();
  report.data_seconds = now() - start;

  const Sum sum = accumulate(data, 0, data.micro_batches.size());
  const auto n = static_cast<std::int64_t>(sum.results.size());
  const auto total = [&](auto member) {
    return ov::sum<double>(
        n, [&](std::int64_t i) { return static_cast<double>(sum.results[static_cast<std::size_t>(i)].*member); });
  };
  report.loss = total(&MicroBatchResult::loss);
  report.products = static_cast<std::int64_t>(total(&MicroBatchResult::products));
  report.labelled = static_cast<std::int64_t>(total(&MicroBatchResult::labelled));
  report.token_loss =
      report.labelled > 0 ? total(&MicroBatchResult::token_loss) / static_cast<double>(report.labelled) : 0;

  const bool checksums = options_.checksum_every > 0 && (done_ + 1) % options_.checksum_every == 0;
  if (checksums)
    report.checksums = Checksums{batch_checksum(data), checksum(&report.loss, 1), tensor_checksum(sum.gradients), 0};
  const double before_update = now();
  report.lr = options_.schedule.rate(done_);
  report.gradient_norm = optimizer_->step(sum.gradients, report.lr);
  const double update_seconds = now() - before_update;
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) report_not_finite(data);
  if (checksums) report.checksums->parameters = tensor_checksum(model_.parameters().values());

  report.step = ++done_;
  report.samples = data.samples;
  report.tokens = data.tokens;
  report.patches = data.patches;
  report.seconds = now() - start;
  if (floor_) {
    std::vector<BatchTimes> times;
    for (const MicroBatchResult& r : sum.results) times.push_back(r.times);
    report.floor_seconds = times_.add({report.seconds, report.data_seconds, update_seconds,
                                       floor_->update(model_.parameters().gradients().numel(), n)},
                                      times);
  }
  return report;
}

// Runs the step again with every activation looked at, to name the first that went wrong.
void Trainer::report_not_finite(const GlobalStep& data) {
  const StepTargets loss = loss_targets(data, options_.normalise_by);
  const std::string where = cat("train: step ", done_ + 1, ": not a finite number");
  for (std::size_t i = 0; i < data.micro_batches.size(); ++i) {
    FiniteCheck check;
    const Parameters& parameters = model_.parameters();
    const Tensor gradients = Tensor::zeros(parameters.gradients().shape(), parameters.gradients().dtype(),
                                           parameters.device(), Segment::gradients);
    run_micro_batch(model_, data.micro_batches[i], loss.micro_batches[i], loss.denominator, gradients, &check);
    if (!check.first.empty()) machine_error(where, "; first in the activation ", check.first, " of micro-batch ", i);
    for (const auto& e : parameters.entries()) {
      if (!e.parameter.trainable) continue;
      const Tensor g = parameters.gradient_slice(gradients, e.parameter);
      if (!std::isfinite(gradient_norm(g.flat())))
        machine_error(where, "; first in the gradient of ", e.parameter.name, " of micro-batch ", i);
    }
  }
  machine_error(where, " in the sum of the gradients, though every micro-batch alone is finite");
}

}  // namespace ov
