#include "train/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/parallel.h"
#include "train/checksums.h"

namespace ov {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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

StepEngine::StepEngine(Objective& objective, const StepOptions& options, Communicator& ranks)
    : objective_(objective),
      ranks_(ranks),
      options_(options),
      optimizer_(objective.parameters(), options.optimizer),
      tree_([&p = objective.parameters()] { return p.gradient_buffer(); }) {
  options_.schedule.steps = options.steps;
  if (options.floor) floor_ = std::make_unique<Floor>();
}

void StepEngine::prepare() {
  data_ = objective_.prepare(done_);
  leaves_.assign(static_cast<std::size_t>(data_.leaves), {});
  const auto n = static_cast<std::int64_t>(data_.denominators.size());
  const Tensor sums = Tensor::of(data_.denominators, {n});
  ranks_.all_reduce(sums);
  objective_.normalise(sums.to_vector<std::int64_t>());
  scalars_ = {};  // the last step's first
  scalars_ =
      Tensor::zeros({1 + objective_.scalars()}, Dtype::f64, objective_.parameters().device(), Segment::workspace);
}

void StepEngine::run_leaf(std::int64_t leaf, const Tensor& gradients) {
  Tape tape(gradients);
  OpTimes times;
  if (floor_) tape.measure(&times);
  objective_.run(leaf, tape, scalars_.slice(0, 1, scalars_.dim(0)));
  Leaf& done = leaves_[static_cast<std::size_t>(leaf)];
  done.products = tape.products();
  if (floor_) done.times = {times.seconds, floor_->leaf(times.done)};
}

// How many of the leaves that are left run at a time: at most two a thread, since they differ in length, and no more
// than the memory budget allows. One alone has all threads to itself.
std::int64_t StepEngine::together(std::int64_t left) const {
  const std::int64_t width = std::max(1, threads());
  if (!options_.tree || !options_.side_by_side || width == 1) return 1;
  std::int64_t group = left < width ? left : std::min(2 * width, left / width * width);
  if (options_.memory_budget == 0) return group;
  if (leaf_memory_ == 0) return 1;  // what a leaf takes is known when one has run
  const Parameters& parameters = objective_.parameters();
  const std::int64_t room = options_.memory_budget - parameters.device().memory().total;
  const auto buffer = static_cast<std::int64_t>(size_of(accum_dtype(parameters.dtype()))) * parameters.trained();
  const auto taken = [&] {
    return std::max<std::int64_t>(0, group - tree_.spare()) * buffer + std::min(group, width) * leaf_memory_;
  };
  while (group > 1 && taken() > room) --group;
  return group;
}

const Tensor& StepEngine::accumulate(std::int64_t begin, std::int64_t end) {
  Device& device = objective_.parameters().device();
  if (options_.tree) tree_.reuse(std::exchange(gradients_, {}));
  else if (!gradients_) gradients_ = objective_.parameters().gradient_buffer();
  if (!options_.tree) gradients_.zero();
  for (std::int64_t i = begin, group; i < end; i += group) {
    group = together(end - i);
    std::vector<Tensor> buffers;
    for (std::int64_t k = 0; k < group; ++k) buffers.push_back(options_.tree ? tree_.leaf() : gradients_);
    const bool prefetches = i + group == end && done_ + 1 < options_.steps;
    std::vector<MemoryUse> memory(buffers.size());
    const auto run = [&](std::int64_t k) {
      if (k == group) return objective_.prefetch();
      const Tensor& buffer = buffers[static_cast<std::size_t>(k)];
      if (options_.tree) buffer.zero();
      Device::Share share(device);
      run_leaf(i + k, buffer);
      memory[static_cast<std::size_t>(k)] = share.close();
    };
    if (group > 1) parallel_for(group + prefetches, run);
    else
      for (std::int64_t k = 0; k < group + prefetches; ++k) run(k);
    device.overlapped(memory, static_cast<std::size_t>(std::max(1, threads())));
    for (const MemoryUse& m : memory) leaf_memory_ = std::max(leaf_memory_, m.total_peak);
    if (options_.tree)
      for (const Tensor& buffer : buffers) tree_.add(buffer);
  }
  if (options_.tree) gradients_ = tree_.finish();
  return gradients_;
}

Tape::Products StepEngine::products() const {
  Tape::Products sum;
  for (const Leaf& leaf : leaves_) {
    sum.forward += leaf.products.forward;
    sum.backward += leaf.products.backward;
    sum.recomputed += leaf.products.recomputed;
  }
  return sum;
}

StepReport StepEngine::step() {
  StepReport report;
  const double start = now();
  prepare();
  report.data_seconds = now() - start;
  accumulate(0, data_.leaves);

  const Parameters& parameters = objective_.parameters();
  const bool checksums = options_.checksum_every > 0 && (done_ + 1) % options_.checksum_every == 0;
  if (checksums) report.checksums = Checksums{objective_.batch_checksum(), 0, tensor_checksum(gradients_), 0};
  const double before_update = now();
  report.lr = options_.schedule.rate(done_);
  optimizer_.step(gradients_, report.lr, scalars_.slice(0, 0, 1));
  objective_.updated(scalars_.slice(0, 1, scalars_.dim(0)));
  const double update_seconds = now() - before_update;

  const std::vector<double> scalars = scalars_.has_data()
                                          ? scalars_.to_vector<double>()
                                          : std::vector<double>(static_cast<std::size_t>(scalars_.numel()));
  report.gradient_norm = scalars[0];
  Losses losses = objective_.losses(std::span(scalars).subspan(1));
  report.loss = losses.loss;
  report.labelled = losses.labelled;
  report.parts = std::move(losses.parts);
  report.note = std::move(losses.note);
  if (!std::isfinite(report.gradient_norm)) optimizer_.set_steps(done_);
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) report_not_finite();
  if (checksums) {
    report.checksums->loss = checksum(&report.loss, 1);
    const Tensor& masters = parameters.masters();
    report.checksums->parameters = tensor_checksum(masters ? masters : parameters.values());
  }

  report.step = ++done_;
  report.samples = data_.samples;
  report.tokens = data_.tokens;
  report.patches = data_.patches;
  report.products = products().forward + products().backward;
  report.seconds = now() - start;
  if (floor_) {
    std::vector<BatchTimes> times;
    for (const Leaf& leaf : leaves_) times.push_back(leaf.times);
    const StepTimes::Floors floor = times_.add(
        {report.seconds, report.data_seconds, update_seconds, floor_->update(parameters.trained(), data_.leaves)},
        times);
    report.floor_seconds = floor.seconds, report.plain_floor_seconds = floor.plain;
  }
  return report;
}

void StepEngine::restore(const TrainingState& state) {
  objective_.restore(state.data);
  done_ = state.step;
}

// Runs the step again with every activation looked at, to name the first that went wrong.
void StepEngine::report_not_finite() {
  const std::string where = cat("step ", done_ + 1, ": not a finite number");
  const Tensor gradients = objective_.parameters().gradient_buffer();
  for (std::int64_t i = 0; i < data_.leaves; ++i) {
    FiniteCheck check;
    gradients.zero();
    Tape tape(gradients, &check);
    objective_.run(i, tape, scalars_.slice(0, 1, scalars_.dim(0)));
    if (!check.first.empty()) machine_error(where, "; first in the activation ", check.first, " of micro-batch ", i);
    for (const auto& e : objective_.parameters().entries()) {
      const Tensor g = gradient_of(e.parameter, gradients);
      if (g && !std::isfinite(gradient_norm(g.flat())))
        machine_error(where, "; first in the gradient of ", e.parameter.name, " of micro-batch ", i);
    }
  }
  machine_error(where, " in the sum of the gradients, though every micro-batch alone is finite");
}

}  // namespace ov
