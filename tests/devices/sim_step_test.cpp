// What a training step does on a GPU, counted on the simulated one: which ops run as one, in how many launches, what is
// copied when, and that `plan` for a GPU rehearses the same.
#include <doctest/doctest.h>

#include <map>

#include "audit/plan.h"
#include "autograd/op_times.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/table.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

using Counts = std::map<std::string, std::int64_t>;

// Counts the ops of every leaf by name, and looks at the queue around prefetch().
struct Watched : LanguageObjective {
  using LanguageObjective::LanguageObjective;
  Counts ops;
  ForeignDevice* device = nullptr;
  struct Seen {
    std::size_t queued;
    std::int64_t ran, waits, bytes;
  };
  std::vector<std::pair<Seen, Seen>> prefetches;

  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override {
    OpTimes times;
    tape.measure(&times);
    LanguageObjective::run(leaf, tape, scalars);
    tape.measure(nullptr);
    for (const OpTimes::Done& done : times.done) ops[row(done.op).name] += done.pass == Pass::forward;
  }
  Seen look() const {
    return {device->queued(), device->ran(), device->waits(),
            device->memory().bytes[static_cast<std::size_t>(Segment::data)]};
  }
  void prefetch() override {
    if (!device) return LanguageObjective::prefetch();
    const Seen before = look();
    LanguageObjective::prefetch();
    prefetches.emplace_back(before, look());
  }
};

constexpr std::int64_t loss_rows = linear_cross_entropy_rows;

std::unique_ptr<Onevision> model_on(Device& device, Dtype dtype) {
  auto model = std::make_unique<Onevision>(small_config());
  model->parameters().allocate(dtype, device);
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
  return model;
}

TrainOptions run_of(std::int64_t steps) {
  TrainOptions o = short_run(steps);
  o.loss_rows = loss_rows, o.checksum_every = 0;
  return o;
}

GlobalStep pictured(unsigned seed, std::int64_t text = 30) {
  MicroBatch row;
  add_sample(row, seed, 4, 6, text);
  return as_step({row});
}

// Of a step by the engine, or of its one leaf with a tracer.
Counts ops_of(Device& device, Tracer* tracer) {
  const auto model = model_on(device, Dtype::f32);
  FixedSteps data({pictured(1)});
  Watched objective(*model, data, run_of(1));
  StepEngine engine(objective, run_of(1));
  if (!tracer) return engine.step(), objective.ops;
  objective.normalise(objective.prepare(0).denominators);
  const Tensor scalars = Tensor::zeros({objective.scalars()}, Dtype::f64, device),
               sums = model->parameters().gradient_buffer();
  sums.zero();
  Tape tape(sums, tracer);
  objective.run(0, tape, scalars);
  return objective.ops;
}

struct Nobody : Tracer {
  void activation(const std::string&, const Tensor&) override {}
};

// Calls of three entries of the table, and launches that each made: entries are plain functions, hence statics.
struct Called {
  std::int64_t calls = 0, launches = 0;
};
Called updates, squares, clips;
const kernels::Table* real_table = nullptr;
ForeignDevice* counted = nullptr;

template <class Args, auto entry, Called* called>
void count(const Args& a) {
  const std::int64_t before = counted->simulated().counts().launches;
  (real_table->*entry)(a);
  ++called->calls, called->launches += counted->simulated().counts().launches - before;
}

}  // namespace

TEST_CASE("a step on a GPU runs the fused ops, as many as the model has layers; a trace, and the CPU, none") {
  SimDevice device(Policy::lazy);
  Nobody nobody;
  Counts fused = ops_of(device, nullptr), traced = ops_of(device, &nobody), here = ops_of(cpu(), nullptr);
  const TextConfig text = small_config().text;
  const std::int64_t L = text.layers;
  REQUIRE(text.qk_norm);
  // Every norm of the decoder but the first follows a sum; q and k are normed and turned in every layer.
  CHECK(fused["add_rms_norm"] == 2 * L);
  CHECK(fused["rms_norm"] == 1);
  CHECK(fused["norm_rope"] == 2 * L);
  CHECK(fused["swiglu"] == L);
  CHECK(fused["attention"] == L + small_config().vision.depth);
  CHECK(fused["linear_cross_entropy"] == 1);
  CHECK(fused["cross_entropy"] == 0);
  CHECK(traced == here);
  CHECK(traced["add_rms_norm"] == 0);
  CHECK(traced["norm_rope"] == 0);
  CHECK(traced["rms_norm"] == 1 + 4 * L);
  CHECK(traced["add"] == fused["add"] + 2 * L);
  CHECK(traced["rope"] == fused["rope"] + 2 * L);
  for (const char* same : {"swiglu", "attention", "linear", "linear_cross_entropy"}) CHECK(traced[same] == fused[same]);
}

TEST_CASE("a step on a GPU updates all parameters in one launch and takes their norm in two") {
  SimDevice device(Policy::lazy);
  const auto model = model_on(device, Dtype::bf16);
  TrainOptions options = run_of(2);
  options.optimizer.no_decay = {"q_proj"};  // several ranges
  options.optimizer.visual_lr_scale = 0.5;
  FixedSteps data({pictured(1)});
  Training training(*model, data, options);
  kernels::Table table = *device.table;
  real_table = device.table, counted = &device, updates = squares = clips = {};
  table.adamw = count<kernels::Adamw, &kernels::Table::adamw, &updates>;
  table.squared_sums = count<kernels::SquaredSums, &kernels::Table::squared_sums, &squares>;
  table.clip_factor = count<kernels::ClipFactor, &kernels::Table::clip_factor, &clips>;
  device.table = &table;
  training.step(), training.step();
  device.table = real_table;
  for (const Called& c : {updates, squares, clips}) {
    CHECK(c.calls == 2);
    CHECK(c.launches == 2);
  }
}

TEST_CASE(
    "plan for a GPU rehearses what runs there: its ops, and a step's memory to the byte, with what kernels take in a "
    "call") {
  {
    SimDevice device(Policy::lazy);
    struct MetaGpu : MetaDevice {
      bool fuses() const override { return true; }
    } gpu;
    MetaDevice plain;
    gpu.table = plain.table = &kernels::meta_table();
    const Counts there = ops_of(device, nullptr), here = ops_of(cpu(), nullptr);
    CHECK(ops_of(gpu, nullptr) == there);
    CHECK(ops_of(plain, nullptr) == here);
    CHECK(there != here);
  }
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const bool recompute : {false, true}) {
      CAPTURE(name_of(dtype));
      const GlobalStep step = pictured(1, 300);  // so many that the decoder decides
      PlanOptions o{.grids = {{1, 4, 6}},
                    .text_tokens = step.tokens - 6,
                    .labelled = step.labelled_tokens,
                    .dtype = dtype,
                    .recompute = recompute,
                    .gpu = true,
                    .train = run_of(2)};
      const Plan plan = plan_model(small_config(), o);

      SimDevice device(Policy::lazy);
      const auto model = model_on(device, dtype);
      model->recompute_blocks = recompute;
      FixedSteps data({step});
      Training training(*model, data, run_of(3));
      training.step(), training.step();
      const MemoryUse use = device.memory();
      for (int s = 0; s < segment_count; ++s) {
        CAPTURE(name_of(static_cast<Segment>(s)));
        CHECK(plan.memory.peak[static_cast<std::size_t>(s)] == use.peak[static_cast<std::size_t>(s)]);
      }
      CHECK(plan.memory.total_peak == use.total_peak);
      CHECK(plan.memory.peak[static_cast<std::size_t>(Segment::workspace)] > gpu::cublaslt_workspace_taken);
    }
}

TEST_CASE("the next step's pictures are queued while this one computes, without a wait, and have the same bits") {
  const std::vector<GlobalStep> steps = {pictured(1), pictured(2), pictured(3)};
  const auto run = [&](Device& device, std::vector<std::pair<Watched::Seen, Watched::Seen>>* prefetches,
                       std::vector<std::int64_t>* left = nullptr) {
    const auto model = model_on(device, Dtype::f32);
    FixedSteps data(steps);
    Watched objective(*model, data, run_of(3));
    objective.device = prefetches ? dynamic_cast<ForeignDevice*>(&device) : nullptr;
    StepEngine engine(objective, run_of(3));
    std::string said;
    for (int i = 0; i < 3; ++i) {
      const StepReport r = engine.step();
      said += cat(std::bit_cast<std::uint64_t>(r.loss), " ", std::bit_cast<std::uint64_t>(r.gradient_norm), " ",
                  engine.state().data.dump(), "\n");
      if (left) left->push_back(device.memory().bytes[static_cast<std::size_t>(Segment::data)]);
    }
    if (prefetches) *prefetches = objective.prefetches;
    return said;
  };
  const std::string expected = run(cpu(), nullptr);
  const std::int64_t patches = 4 * 6 * small_config().vision.patch_values() * std::int64_t(sizeof(float));
  for (const Policy policy : {Policy::eager, Policy::lazy, Policy::others_first, Policy::random}) {
    CAPTURE(static_cast<int>(policy));
    SimDevice device(policy, 3);
    std::vector<std::pair<Watched::Seen, Watched::Seen>> prefetches;
    std::vector<std::int64_t> left;  // bytes of data after each step: the next one's pictures, and none are kept
    CHECK(run(device, &prefetches, &left) == expected);
    CHECK(left[1] == left[0]);
    CHECK(left[2] == left[0] - patches);
    CHECK(prefetches.size() == 2);  // the last step has no next one
    for (const auto& p : prefetches) {
      const Watched::Seen &before = p.first, &after = p.second;
      CHECK(after.waits == before.waits);
      CHECK(after.bytes == before.bytes + patches);
      if (policy != Policy::lazy) continue;
      CHECK(before.queued > 0);             // the step's kernels, none of which has run
      CHECK(after.queued > before.queued);  // the copy behind them
      CHECK(after.ran == before.ran);
    }
    device.synchronize();
    gpu::close_cublaslt(device);
    CHECK(device.memory().total == 0);
  }
}
