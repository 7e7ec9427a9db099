// What plan says that a step takes, and what a step takes.
#include <doctest/doctest.h>

#include "audit/plan_device.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  std::int64_t micro_batches = 1;
  bool tree = true;
  int threads = 1;
  std::int64_t budget = 0;
  bool recompute = false, offload = false;
  Dtype dtype = Dtype::f32;
  Moments moments = Moments::full;
  std::int64_t loss_rows = 0;
  std::int64_t recompute_first = every_block;
};

GlobalStep step_of(std::int64_t micro_batches) {
  MicroBatch row;
  add_sample(row, 1, 4, 6, 30);
  return as_step(std::vector(static_cast<std::size_t>(micro_batches), row));
}

TrainOptions options_of(const Case& c, Device& host) {
  TrainOptions o;
  if (c.offload) o.optimizer.state_on = &host;
  o.optimizer.range = 1000;
  o.optimizer.moments = c.moments;
  o.tree = c.tree;
  o.memory_budget = c.budget;
  o.loss_rows = c.loss_rows;
  return o;
}

// Two steps on a device of their own, by the real engine: memory after the first, checksums of both.
struct Run {
  MemoryUse memory, host;
  std::string checksums;
};

Run real(const Case& c) {
  HostDevice device(Device::Kind::cpu, "test", cpu().table), host(Device::Kind::cpu, "host", cpu().table);
  Onevision model(small_config());
  model.recompute_blocks = c.recompute, model.recompute_first = c.recompute_first;
  model.parameters().allocate(c.dtype, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
  FixedSteps data({step_of(c.micro_batches)});
  Training training(model, data, options_of(c, host));
  Run run;
  for (int step = 1; step <= 2; ++step) {
    const Checksums sums = *training.step().checksums;
    run.checksums += cat(sums.loss, " ", sums.gradients, " ", sums.parameters, "\n");
    if (step == 1) run.memory = device.memory(), run.host = host.memory();
  }
  // What a leaf takes is known by the second step, so that with a budget more of them may run at a time.
  if (c.budget == 0) CHECK(device.memory().peak == run.memory.peak);
  else CHECK(device.memory().total_peak <= std::max(c.budget, run.memory.total_peak));
  return run;
}

Plan planned(const Case& c) {
  const GlobalStep step = step_of(1);
  PlanOptions o;
  o.grids = {{1, 4, 6}};
  o.text_tokens = step.tokens - 6;
  o.labelled = step.labelled_tokens;
  o.micro_batches = c.micro_batches;
  o.recompute = c.recompute, o.recompute_first = c.recompute_first;
  o.dtype = c.dtype;
  o.train = options_of(c, cpu());
  return plan_model(small_config(), o);
}

void check_agree(const Case& c) {
  CAPTURE(c.micro_batches);
  CAPTURE(c.tree);
  CAPTURE(c.threads);
  const Threads scope(c.threads);
  const Plan plan = planned(c);
  const Run run = real(c);
  const auto agree = [](const MemoryUse& a, const MemoryUse& b) {
    for (int s = 0; s < segment_count; ++s) {
      CAPTURE(name_of(static_cast<Segment>(s)));
      CHECK(a.peak[static_cast<std::size_t>(s)] == b.peak[static_cast<std::size_t>(s)]);
    }
    CHECK(a.total_peak == b.total_peak);
  };
  agree(plan.memory, run.memory);
  agree(plan.host, run.host);
}

}  // namespace

TEST_CASE(
    "plan and a real step agree to the byte, by segment: tree and chain, 1 to 4 threads, recomputed or not, f32 and "
    "bf16") {
  for (int n = 1; n <= 4; ++n)
    for (const std::int64_t micro_batches : {1, 3, 8})
      for (const bool tree : {true, false}) check_agree({micro_batches, tree, n});
  check_agree({5, true, 3, 0, true});
  for (int n = 1; n <= 4; ++n)
    for (const bool tree : {true, false})
      check_agree({.micro_batches = 3, .tree = tree, .threads = n, .dtype = Dtype::bf16});
  check_agree({.micro_batches = 5, .threads = 3, .recompute = true, .dtype = Dtype::bf16});
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    check_agree({.micro_batches = 3, .threads = 2, .dtype = dtype, .loss_rows = 384});
  const auto optimizer = static_cast<std::size_t>(Segment::optimizer);
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const bool offload : {false, true}) {
      const Case c{.micro_batches = 3, .threads = 2, .offload = offload, .dtype = dtype, .moments = Moments::bf16};
      check_agree(c);
      const Plan plan = planned(c);
      const std::int64_t masters = offload && dtype == Dtype::bf16 ? 4 : 0;
      if (offload) CHECK(plan.host.total_peak == (2 * 2 + masters) * plan.trained);
      else CHECK(plan.memory.peak[optimizer] == 2 * 2 * plan.trained);
    }
}

TEST_CASE("plan and a real step of region cluster discrimination agree to the byte, by segment") {
  struct Source : RegionSource {
    RegionStep step;
    RegionLoaderState at;
    RegionStep next() override { return step; }
    const RegionLoaderState& state() const override { return at; }
    void restore(const RegionLoaderState&) override {}
    std::string path() const override { return "test"; }
    std::string labels() const override { return ""; }
  };
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const bool recompute : {false, true})
      for (const bool softmax : {false, true})
        for (const std::int64_t strings : {0, 1}) {
          RegionPlan rice{.vision = small_config().vision, .head = {}, .regions = 3, .strings = strings, .labels = 2};
          rice.head.classes = 40, rice.head.characters = strings > 0 ? 30 : 0;
          rice.objects = rice.characters = {.softmax = softmax, .margin = {}, .density = 0.5};
          PlanOptions o{
              .grids = {{1, 4, 6}, {1, 4, 4}}, .micro_batches = 2, .dtype = dtype, .recompute = recompute, .train = {}};
          o.train.tree = false;
          const Plan plan = plan_region(rice, o);

          HostDevice device(Device::Kind::cpu, "test", cpu().table);
          RiceModel model(rice.vision, rice.head);
          model.recompute_blocks = recompute;
          model.parameters().allocate(dtype, device);
          initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
          Source source;
          std::int64_t object = 0, character = 0;
          for (int m = 0; m < 2; ++m) {
            RegionBatch batch;
            batch.pixel_values = Tensor::zeros({4 * 6 + 4 * 4, rice.vision.patch_values()}, Dtype::f32, cpu());
            batch.grids = {{1, 4, 6}, {1, 4, 4}};
            for (const std::int64_t picture : {0, 1})
              for (std::int64_t slot = 0; slot < 3; ++slot) {
                Region r{.picture = picture, .slot = slot, .box = {0, 0, picture == 0 ? 6.0 : 4.0, 4}, .label = {}};
                if (slot >= strings) r.label.object = object++;
                else r.label.characters = {character, character + 1}, character += 2;
                batch.regions.push_back(r);
              }
            source.step.micro_batches.push_back(batch);
          }
          source.step.pictures = 4, source.step.patches = 2 * 40;
          source.step.objects = object, source.step.texts = character / 2;
          RegionTrainOptions train;
          static_cast<StepOptions&>(train) = o.train;
          train.objects = rice.objects, train.characters = rice.characters;
          train.steps = 1, train.checksum_every = 0;
          RegionObjective objective(model, source, train);
          StepEngine engine(objective, train, one_rank());
          const StepReport report = engine.step();
          CHECK(plan.memory.peak == device.memory().peak);
          CHECK(plan.memory.total_peak == device.memory().total_peak);
          CHECK(2.0 * static_cast<double>(report.products) == plan.forward_flops + plan.backward_flops);
          CHECK((plan.recomputed_flops > 0) == recompute);
        }
}

TEST_CASE("an optimiser on the host: to the byte as planned, on both sides, and the same bits") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    CAPTURE(name_of(dtype));
    const Case here{.micro_batches = 3, .threads = 2, .dtype = dtype};
    Case away = here;
    away.offload = true;
    check_agree(away);
    const Run a = real(here), b = real(away);
    CHECK(a.checksums == b.checksums);
    CHECK(a.host.total_peak == 0);
    // Moments and masters went over; a buffer of 1000 elements for each came in their place.
    const std::int64_t state = dtype == Dtype::bf16 ? 3 : 2, trained = planned(here).trained;
    CHECK(b.host.total_peak == state * 4 * trained);
    const auto optimizer = static_cast<std::size_t>(Segment::optimizer);
    CHECK(a.memory.peak[optimizer] == 8 * trained);
    CHECK(b.memory.peak[optimizer] == 0);
    CHECK(a.memory.total_peak - b.memory.total_peak == state * 4 * trained);
  }
}

TEST_CASE("a memory budget bounds what runs side by side, and changes no bit; plan knows it too") {
  const auto run = [](int threads, std::int64_t budget) {
    const Threads scope(threads);
    return real({.micro_batches = 8, .threads = threads, .budget = budget});
  };
  const Run most = run(4, 0), least = run(1, 0);
  CHECK(most.memory.total_peak > least.memory.total_peak);
  std::int64_t last = least.memory.total_peak;
  for (const double share : {0.0, 0.5, 1.0}) {
    CAPTURE(share);
    const auto room = static_cast<double>(most.memory.total_peak - least.memory.total_peak);
    const std::int64_t budget = least.memory.total_peak + static_cast<std::int64_t>(share * room);
    const Run bounded = run(4, budget);
    CHECK(bounded.memory.total_peak <= budget);
    CHECK(bounded.memory.total_peak >= last);
    last = bounded.memory.total_peak;
    CHECK(bounded.checksums == most.checksums);
    check_agree({.micro_batches = 8, .threads = 4, .budget = budget});
  }
  CHECK(last > least.memory.total_peak);
  CHECK(run(4, 1).memory.total_peak == least.memory.total_peak);  // too little for one: one at a time runs all the same
}

TEST_CASE("the first n blocks recomputed: to the byte as planned, the same bits; plan finds the fewest that fit") {
  const ModelConfig config = small_config();
  const std::int64_t blocks = config.vision.depth + config.text.layers;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    CAPTURE(name_of(dtype));
    const auto of = [&](std::int64_t n) {
      return Case{.micro_batches = 3, .threads = 2, .recompute = n > 0, .dtype = dtype, .recompute_first = n};
    };
    std::vector<std::int64_t> needed;
    double recomputed = -1;
    const std::string bits = real(of(0)).checksums;
    for (std::int64_t n = 0; n <= blocks; ++n) {
      CAPTURE(n);
      check_agree(of(n));
      CHECK(real(of(n)).checksums == bits);
      const Plan plan = planned(of(n));
      CHECK(plan.recomputed_flops > recomputed);
      CHECK((plan.recomputed_flops == 0) == (n == 0));
      recomputed = plan.recomputed_flops;
      needed.push_back(plan.memory.total_peak);
    }
    Case all = of(blocks);
    all.recompute_first = every_block;
    CHECK(planned(all).memory.total_peak == needed.back());
    CHECK(needed.back() < needed.front());

    const GlobalStep step = step_of(1);
    PlanOptions options{.grids = {{1, 4, 6}},
                        .text_tokens = step.tokens - 6,
                        .labelled = step.labelled_tokens,
                        .micro_batches = 3,
                        .dtype = dtype,
                        .train = options_of(of(0), cpu())};
    DeviceFacts device{.name = "one", .about = "a device", .measured = true, .peak = {{name_of(dtype), 1e12}}};
    device.bandwidth = device.link = 1e12;
    const auto chosen = [&](std::int64_t memory) {
      const Threads scope(2);
      device.memory = static_cast<double>(memory);
      return plan_on(device, config, options, 0.5, true);
    };
    for (std::int64_t n = 0; n <= blocks; ++n) {
      CAPTURE(n);
      const std::int64_t memory = needed[static_cast<std::size_t>(n)];
      std::int64_t fewest = 0;
      while (needed[static_cast<std::size_t>(fewest)] > memory) ++fewest;
      const DevicePlan p = chosen(memory);
      CHECK(p.recomputed == fewest);
      CHECK(p.step.missing <= 0);
      CHECK(p.step.plan.memory.total_peak == needed[static_cast<std::size_t>(fewest)]);
      CHECK(contains(p.report(), fewest == 0 ? "nothing: it fits without" : cat("recompute_blocks=", fewest)));
    }
    const DevicePlan none = chosen(*std::min_element(needed.begin(), needed.end()) - 1);
    CHECK(none.recomputed == blocks);
    CHECK(none.step.missing > 0);
  }
}

TEST_CASE("train.recompute auto: what is chosen for a budget fits it, and takes what plan says, to the byte") {
  const ModelConfig config = small_config();
  const std::int64_t blocks = config.vision.depth + config.text.layers;
  const auto of = [&](std::int64_t n) {
    return Case{.micro_batches = 3, .tree = false, .recompute = n > 0, .recompute_first = n};
  };
  const Threads scope(1);
  PlanOptions options{.train = options_of(of(0), cpu()), .rows = step_of(3).micro_batches};
  const std::int64_t none = real(of(0)).memory.total_peak, all = real(of(blocks)).memory.total_peak;
  const std::string bits = real(of(0)).checksums;
  CHECK(fit_run(config, options, none).recomputed == 0);
  CHECK(fit_run(config, options, none - 1).recomputed > 0);
  CHECK(fit_run(config, options, all).recomputed <= blocks);
  CHECK(fit_run(config, options, 1).recomputed == blocks);
  int between = 0;
  for (const double share : {0.1, 0.3, 0.5, 0.7, 0.9}) {
    const std::int64_t budget = all + static_cast<std::int64_t>(share * static_cast<double>(none - all));
    const FittedRun fitted = fit_run(config, options, budget);
    CAPTURE(fitted.recomputed);
    const Run run = real(of(fitted.recomputed));
    CHECK(run.memory.total_peak == fitted.bytes);
    CHECK(run.memory.total_peak <= budget);
    CHECK(run.checksums == bits);
    CHECK(real(of(fitted.recomputed - 1)).memory.total_peak > budget);  // no fewer would do
    between += fitted.recomputed > 0 && fitted.recomputed < blocks;
  }
  CHECK(between > 0);
}
