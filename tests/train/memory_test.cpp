// What plan says that a step takes, and what a step takes.
#include <doctest/doctest.h>

#include "audit/plan.h"
#include "base/parallel.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  std::int64_t micro_batches = 1;
  bool tree = true;
  int threads = 1;
  std::int64_t budget = 0;
  bool recompute = false;
};

GlobalStep step_of(std::int64_t micro_batches) {
  MicroBatch row;
  add_sample(row, 1, 4, 6, 30);
  return as_step(std::vector(static_cast<std::size_t>(micro_batches), row));
}

TrainOptions options_of(const Case& c) {
  TrainOptions o;
  o.tree = c.tree;
  o.memory_budget = c.budget;
  return o;
}

// Two steps on a device of their own, by the real engine.
MemoryUse real(const Case& c, Tensor* gradients = nullptr) {
  HostDevice device(Device::Kind::cpu, "test", cpu().table);
  Onevision model(small_config());
  model.recompute_blocks = c.recompute;
  model.parameters().allocate(Dtype::f32, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
  FixedSteps data({step_of(c.micro_batches)});
  Training training(model, data, options_of(c));
  training.step();
  const MemoryUse use = device.memory();
  training.step();
  if (c.budget == 0) CHECK(device.memory().peak == use.peak);  // the second step takes no more than the first
  if (gradients) *gradients = Tensor::of(training.gradients().to_vector<float>(), training.gradients().shape());
  return use;
}

MemoryUse planned(const Case& c) {
  const GlobalStep step = step_of(1);
  PlanOptions o;
  o.grids = {{1, 4, 6}};
  o.text_tokens = step.tokens - 6;
  o.labelled = step.labelled_tokens;
  o.micro_batches = c.micro_batches;
  o.recompute = c.recompute;
  o.train = options_of(c);
  return plan_model(small_config(), o).memory;
}

void check_agree(const Case& c) {
  CAPTURE(c.micro_batches);
  CAPTURE(c.tree);
  CAPTURE(c.threads);
  set_threads(c.threads);
  const MemoryUse a = planned(c), b = real(c);
  for (int s = 0; s < segment_count; ++s) {
    CAPTURE(name_of(static_cast<Segment>(s)));
    CHECK(a.peak[static_cast<std::size_t>(s)] == b.peak[static_cast<std::size_t>(s)]);
  }
  CHECK(a.total_peak == b.total_peak);
}

}  // namespace

TEST_CASE("plan and a real step agree to the byte, by segment: tree and chain, 1 to 4 threads, recomputed or not") {
  const int before = threads();
  for (int n = 1; n <= 4; ++n)
    for (const std::int64_t micro_batches : {1, 3, 8})
      for (const bool tree : {true, false}) check_agree({micro_batches, tree, n});
  check_agree({5, true, 3, 0, true});
  set_threads(before);
}

TEST_CASE("a memory budget bounds what runs side by side, and changes no bit; plan knows it too") {
  const int before = threads();
  set_threads(4);
  const Case free{.micro_batches = 8, .threads = 4};
  Tensor wide, narrow;
  const MemoryUse most = real(free, &wide);
  set_threads(1);
  const MemoryUse least = real({.micro_batches = 8, .threads = 1});
  set_threads(4);
  CHECK(most.total_peak > least.total_peak);
  std::int64_t last = least.total_peak;
  for (const double share : {0.0, 0.5, 1.0}) {
    const auto budget = static_cast<std::int64_t>(static_cast<double>(least.total_peak) +
                                                  share * static_cast<double>(most.total_peak - least.total_peak));
    const Case c{.micro_batches = 8, .threads = 4, .budget = budget};
    const MemoryUse use = real(c, &narrow);
    CAPTURE(share);
    CHECK(use.total_peak <= budget);
    CHECK(use.total_peak >= last);
    last = use.total_peak;
    CHECK(same_bits(narrow, wide));
    check_agree(c);
  }
  set_threads(before);
}
