#include "tests/tools/gpu_check_step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "audit/plan_device.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "generate/engine.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/gpu/cuda_device.h"
#include "tests/model/small_model.h"
#include "tests/train/training_run.h"

namespace ov::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double sheet_peak = 989e12;  // FLOP/s of bf16 on tensor cores, dense: H100 SXM and H200, data sheets

// Sixteen samples of a picture of 560 x 560 pixels, 400 tokens, and 112 tokens of text: 8192 tokens, 25600 patches.
MicroBatch packed_row(bool simulated) {
  MicroBatch row;
  for (unsigned i = 0; i < (simulated ? 2 : 16); ++i)
    simulated ? add_sample(row, i, 4, 6, 10) : add_sample(row, i, 40, 40, 112);
  return row;
}

TrainOptions options_of(std::int64_t steps, bool simulated) {
  TrainOptions o = short_run(steps);
  o.tree = false;  // one buffer of gradients
  o.optimizer.moments = Moments::bf16_stochastic;
  o.loss_rows = simulated ? 0 : 11 * linear_cross_entropy_rows;  // 4224
  o.checksum_every = 0;
  return o;
}

ModelConfig described(bool simulated, std::int64_t layers) {
  ModelConfig c = small_config();
  if (!simulated) {
    const Config file = Config::parse(cli::keys(), "plan", {"--config", "configs/model/8b.json"});
    c.vision = cli::described_vision(file), c.text = cli::described_text(file);
  }
  c.image_token = 96;  // that add_sample() writes
  c.text.layers = layers;
  return c;
}

struct Fitting {
  ModelConfig config;
  FittedRun run;
  Plan plan;
};

// The most layers that fit with their blocks recomputed or not; of the 8B 36 or 12, if need be less.
Fitting what_fits(const GlobalStep& step, std::int64_t memory, bool simulated) {
  for (const std::int64_t layers : {simulated ? 2 : 36, 12, 4, 1}) {
    const ModelConfig config = described(simulated, layers);
    PlanOptions options{
        .dtype = Dtype::bf16, .gpu = true, .train = options_of(2, simulated), .rows = step.micro_batches};
    const FittedRun run = fit_run(config, options, memory);
    if (run.bytes > memory) continue;
    options.recompute = run.recomputed > 0, options.recompute_first = run.recomputed;
    return {config, run, plan_model(config, options)};
  }
  machine_error("gpu-check: not one layer of the 8B fits ", memory, " bytes");
}

// Tokens a second of n answers that are written together, after their prompts of 512 tokens have been read.
double decode_rate(const Onevision& model, int n, bool simulated) {
  const std::int64_t length = simulated ? 5 : 512, more = simulated ? 3 : 64;
  Engine engine(model, {.max_running = n, .share = false});
  std::vector<std::int64_t> written(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    Request r{.prompt = {}, .max_new_tokens = more + 8};
    for (std::int64_t t = 0; t < length; ++t) r.prompt.push_back((7 * t + i) % 96);
    r.token = [&written, i](const Token&) { return ++written[static_cast<std::size_t>(i)], true; };
    engine.submit(std::move(r));
  }
  const auto least = [&] { return *std::min_element(written.begin(), written.end()); };
  const auto all = [&] { return std::accumulate(written.begin(), written.end(), std::int64_t{0}); };
  while (least() < 4 && engine.step()) {}  // every prompt is read, and every shape has been seen
  const auto begin = Clock::now();
  const std::int64_t before = all(), until = least() + more;
  while (least() < until && engine.step()) {}
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const auto tokens = static_cast<double>(all() - before);
  engine.run();
  return tokens / seconds;
}

}  // namespace

Json time_whole_model(const Measured& best, bool simulated) {
  auto& device = dynamic_cast<gpu::CudaDevice&>(gpu::device_named("cuda"));
  const GlobalStep step = as_step({packed_row(simulated)});
  const auto reserve = static_cast<std::int64_t>(simulated ? 0 : 4e9);  // of the driver, and of holes
  const auto left = static_cast<std::int64_t>(device.runtime().memory_info().free) + device.memory().total;
  const Fitting fit = what_fits(step, left - reserve, simulated);

  Onevision model(fit.config);
  model.recompute_blocks = fit.run.recomputed > 0, model.recompute_first = fit.run.recomputed;
  model.parameters().allocate(Dtype::bf16, device);
  initialize(model.parameters(), {}, 1);
  double seconds = INFINITY;
  device.reset_peaks();
  {
    const int steps = simulated ? 2 : 5;
    FixedSteps data({step});
    Training training(model, data, options_of(steps, simulated));
    for (int i = 0; i < steps; ++i) {
      const double took = training.step().seconds;
      if (i > 0) seconds = std::min(seconds, took);  // the first one chooses algorithms
    }
    device.synchronize();
  }
  const double flops = fit.plan.forward_flops + fit.plan.backward_flops, rate = flops / seconds;
  const MemoryUse use = device.memory();
  std::printf(
      "step: %ld of 36 layers of the 8B, %ld tokens, bf16 with moments in bf16, %ld of %ld blocks recomputed: "
      "%.1f ms, %.1f TFLOP/s, MFU %.1f %% (of 989), %.1f %% of the best product here; %.2f GB, planned %.2f\n",
      long(fit.config.text.layers), long(step.tokens), long(fit.run.recomputed), long(fit.run.blocks), seconds * 1e3,
      rate / 1e12, 100 * rate / sheet_peak, 100 * rate / best.flops, double(use.total_peak) / 1e9,
      double(fit.run.bytes) / 1e9);
  Json said = Json::object({{"layers", fit.config.text.layers},
                            {"tokens", step.tokens},
                            {"recomputed_blocks", fit.run.recomputed},
                            {"ms", seconds * 1e3},
                            {"tflops", rate / 1e12},
                            {"mfu", rate / sheet_peak},
                            {"bytes", use.total_peak},
                            {"planned_bytes", fit.run.bytes}});
  // What a token reads of the weights: all but the tower and the table of the embedding.
  double weights = 0;
  for (const Plan::Module& m : fit.plan.modules)
    if (m.name == "decoder" || m.name == "head") weights += 2 * static_cast<double>(m.parameters);
  for (const int n : {1, 16}) {
    const double tokens = decode_rate(model, n, simulated);
    std::printf(
        "decoding, %d at once: %.1f tokens/s, %.1f %% of reading the weights once a pass at the best copy here\n", n,
        tokens, 100 * tokens / n * weights / best.bytes);
    said.set(cat("tokens_per_second_", n), tokens);
  }
  return said;
}

}  // namespace ov::test
