// Training on memory that the host cannot touch, everything run late: the cpu's bits.
#include <doctest/doctest.h>

#include <array>

#include "audit/trace.h"
#include "base/parallel.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/scheduler.h"
#include "tests/base/scratch.h"
#include "tests/devices/sim_device.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

std::unique_ptr<Onevision> model_on(Device& device, Dtype dtype = Dtype::f32) {
  ModelConfig config = small_config();
  config.text.experts = 3, config.text.experts_per_token = 2, config.text.expert_intermediate = 24;
  config.text.mlp_only_layers = {0};  // one layer dense, one a mixture
  auto model = std::make_unique<Onevision>(config);
  model->parameters().allocate(dtype, device);
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
  return model;
}

FixedSteps steps() {
  return FixedSteps({as_step({mixed_row(1), mixed_row(2), mixed_row(3)}), as_step({mixed_row(4), mixed_row(5)})});
}

// What a run of four steps leaves and says; it is saved after the second and goes on from there, in a new model.
// state_on: where the optimiser's state is, before and after the save.
std::string run_on(Device& device, bool tree, Dtype dtype = Dtype::f32, std::array<Device*, 2> state_on = {}) {
  TrainOptions options = short_run(4);
  options.tree = tree;
  options.optimizer.range = 100;
  if (dtype == Dtype::bf16) options.optimizer.moments = Moments::bf16_stochastic;
  options.optimizer.state_on = state_on[0];
  const ScratchDirectory dir;
  std::string said;
  const auto say = [&](const StepReport& r) {
    said += cat(r.step, " ", std::hexfloat, r.loss, " ", r.gradient_norm, " ", r.parts.dump(), " ", r.checksums->loss,
                " ", r.checksums->gradients, " ", r.checksums->parameters, "\n");
  };
  {
    const auto model = model_on(device, dtype);
    FixedSteps data = steps();
    Training training(*model, data, options);
    say(training.step());
    say(training.step());
    save_checkpoint(dir.path(), training.state(), Json::object());
  }
  options.optimizer.state_on = state_on[1];
  const auto model = model_on(device, dtype);
  FixedSteps data = steps();
  Training training(*model, data, options);
  load_into(training, newest_checkpoint(dir.path()).value());
  say(training.step());
  say(training.step());
  for (const Tensor& t :
       {model->parameters().values(), training.optimizer().first_moment(), training.optimizer().second_moment()})
    said += std::to_string(tensor_checksum(t)) + " ";
  return said;
}

std::vector<std::pair<std::string, std::vector<float>>> trace_on(Device& device) {
  const auto model = model_on(device);
  MicroBatch b;
  add_sample(b, 3, 4, 4, 9);
  const Trace trace = trace_model(
      *model, {.input_ids = b.input_ids, .labels = b.labels, .pixel_values = b.pixel_values, .grids = {{1, 4, 4}}});
  std::vector<std::pair<std::string, std::vector<float>>> out = {{cat(std::hexfloat, trace.loss), {}}};
  for (const NamedTensor& t : trace.tensors) out.emplace_back(t.name, t.tensor.to_vector<float>());
  return out;
}

struct Case {
  Policy policy;
  std::uint64_t seed;
};

template <class D>
void training(const std::vector<Case>& cases, const std::vector<bool>& sums = {true, false}) {
  for (const bool tree : sums) {
    const std::string expected = run_on(cpu(), tree);
    for (const Case& c : cases) {
      CAPTURE(static_cast<int>(c.policy));
      D device(c.policy, c.seed);
      CHECK(run_on(device, tree) == expected);
      device.synchronize();
      gpu::close_cublaslt(device);  // its workspace
      CHECK(device.memory().total == 0);
    }
  }
  const auto expected = trace_on(cpu());
  for (const Case& c : cases) {
    D device(c.policy, c.seed);
    CHECK(trace_on(device) == expected);
  }
}

}  // namespace

TEST_CASE("foreign: training, saving, going on and tracing have the cpu's bits") {
  training<ForeignDevice>({{Policy::lazy, 0}, {Policy::random, 1}});
}

TEST_CASE(
    "foreign: an optimiser whose state is on the host, before a save, after it or both, has the cpu's bits (R-28)") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    CAPTURE(name_of(dtype));
    const std::string expected = run_on(cpu(), true, dtype);
    for (const std::array<Device*, 2> state_on :
         {std::array<Device*, 2>{&cpu(), &cpu()}, {&cpu(), nullptr}, {nullptr, &cpu()}}) {
      ForeignDevice device(Policy::random, 4);
      CHECK(run_on(device, true, dtype, state_on) == expected);
    }
  }
  // Where the state really is: the host reads it without a copy, and the device has none.
  ForeignDevice device(Policy::lazy);
  const auto model = model_on(device, Dtype::bf16);
  FixedSteps data = steps();
  TrainOptions options = short_run(1);
  options.optimizer.state_on = &cpu();
  Training training(*model, data, options);
  training.step();
  CHECK(training.optimizer().first_moment().bytes() != nullptr);
  CHECK(model->parameters().masters().bytes() != nullptr);
  CHECK(device.memory().peak[static_cast<std::size_t>(Segment::optimizer)] == 0);
}

TEST_CASE("foreign: the host reads the device once a step (G-08)") {
  ForeignDevice device(Policy::lazy);
  const auto model = model_on(device);
  FixedSteps data = steps();
  TrainOptions options = short_run(7);
  options.checksum_every = 0;  // each would read a whole buffer
  Training training(*model, data, options);
  for (int step = 1; step <= 7; ++step) {
    const std::int64_t reads = device.reads(), waits = device.waits();
    const std::int64_t allocations = device.simulated().counts().allocations;
    training.step();
    // Two kinds of step have been seen, with pictures that were sent ahead.
    if (step > 3) CHECK(device.simulated().counts().allocations == allocations);
    CHECK(device.reads() == reads + 1);
    CHECK(device.waits() == waits + 1);  // for that read; nothing else stops the host within a step
  }
}

TEST_CASE("sim device: training, saving, going on and tracing have the cpu's bits in f32, and their own in bf16") {
  std::string half[2];
  for (const bool reverse : {true, false}) {
    const sim::ScheduleScope scope({reverse ? sim::Order::reverse : sim::Order::random, 2});
    const Policy policy = reverse ? Policy::lazy : Policy::random;
    training<SimDevice>({{policy, 2}}, {reverse});
    SimDevice device(policy, 5);
    half[reverse] = run_on(device, true, Dtype::bf16);
  }
  CHECK(half[0] == half[1]);
}

TEST_CASE("sim device, every policy: training" * doctest::skip()) {
  training<SimDevice>({{Policy::eager, 0}, {Policy::others_first, 0}, {Policy::random, 3}, {Policy::random, 4}});
}

TEST_CASE("foreign, every policy: training" * doctest::skip()) {
  training<ForeignDevice>({{Policy::eager, 0}, {Policy::others_first, 0}, {Policy::random, 2}, {Policy::random, 3}});
}
