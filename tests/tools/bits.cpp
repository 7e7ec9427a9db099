// A short training run and a cached forward pass, as checksums: what every build of this code must print alike,
// whatever the compiler, its optimisation and the instruction set (tests/tools/bits.sh compares them).
//
//   bits        one line a stage, "stage  SHA-256 of the bits", and one of the whole. Exit 0
//
// Pictures, several samples in a row, prefixes with branches, tree and chain sums, recomputation, all three
// normalisations, generation one token at a time. No files: model, data and order come from Philox.
#include <cstdio>

#include "base/parallel.h"
#include "base/sha256.h"
#include "generate/generate.h"
#include "tests/model/packed_rows.h"
#include "train/objectives/language.h"

using namespace ov;
using namespace ov::test;

namespace {

class Report {
 public:
  void line(const std::string& stage, const std::vector<Tensor>& tensors) {
    Sha256 hash;
    for (const Tensor& t : tensors) {
      const Tensor whole = t.contiguous_copy();
      hash.update(whole.bytes(), whole.nbytes());
    }
    const std::string text = stage + std::string(28 - std::min<std::size_t>(27, stage.size()), ' ') + hash.hex() + "\n";
    std::fputs(text.c_str(), stdout);
    all_.update(text.data(), text.size());
  }
  void end() const { std::printf("%-28s%s\n", "whole", all_.hex().c_str()); }

 private:
  Sha256 all_;
};

// Wider than the tests' small model: products longer than a tile in every direction, an odd number of layers.
ModelConfig config(bool tied) {
  ModelConfig c = small_config();
  c.vision = {.depth = 2, .hidden = 96, .heads = 3, .intermediate = 200, .patch = 14};
  c.text.hidden = 112;
  c.text.intermediate = 264;
  c.text.layers = 3;
  c.text.head_dim = 32;
  c.text.tied = tied;
  return c;
}

std::unique_ptr<Onevision> model_of(bool tied) {
  auto model = std::make_unique<Onevision>(config(tied));
  model->parameters().allocate(Dtype::f32, cpu());
  const InitOptions init = {.matrix = tied ? "uniform_fan_in" : "normal",
                            .matrix_std = 0.08,
                            .projection_out_std = 0.1,
                            .embedding_std = 0.3};
  initialize(model->parameters(), init, 20);
  return model;
}

// Rows of 40 to 300 tokens, so that attention has more than one block of keys.
std::vector<GlobalStep> steps() {
  std::vector<GlobalStep> all;
  for (std::uint64_t s = 0; s < 3; ++s) {
    std::vector<MicroBatch> rows;
    for (std::uint64_t m = 0; m < 5; ++m) {
      MicroBatch b = mixed_row(100 * s + 10 * m);
      if (m == s) {
        add_sample(b, 7 * s + m, 6, 8, 120);
        add_branch(b, 7 * s + m + 1, static_cast<std::int64_t>(b.segments.size()) - 1, 70);
      }
      rows.push_back(b);
    }
    all.push_back(as_step(std::move(rows)));
  }
  return all;
}

struct Run {
  const char* name;
  NormaliseBy by;
  bool tied, tree, recompute;
  int threads;
};

void train(Report& report, const Run& run) {
  set_threads(run.threads);
  const auto model = model_of(run.tied);
  model->recompute_blocks = run.recompute;
  FixedSteps data(steps());
  TrainOptions options;
  options.steps = 6;
  options.schedule = {.peak = 3e-3, .min = 3e-4, .warmup = 0.3, .first_step = 1};
  options.optimizer.weight_decay = 0.1;
  options.optimizer.visual_lr_scale = 0.5;
  options.normalise_by = run.by;
  options.tree = run.tree;
  Training trainer(*model, data, options);
  report.line(std::string(run.name) + ": initial", {model->parameters().values()});
  trainer.prepare();
  report.line(std::string(run.name) + ": gradients", {trainer.accumulate(0, 5)});
  data.restore(Json(0));
  for (int s = 1; s <= 6; ++s) {
    const StepReport r = trainer.step();
    report.line(cat(run.name, ": step ", s),
                {Tensor::of<double>({r.loss, r.parts.at("token_loss").as_double(), r.gradient_norm, r.lr}, {4}),
                 model->parameters().values()});
  }
  report.line(std::string(run.name) + ": moments",
              {trainer.optimizer().first_moment(), trainer.optimizer().second_moment()});
}

void generate_tokens(Report& report) {
  const auto model = model_of(true);
  MicroBatch b;
  add_sample(b, 31, 6, 10, 75);
  const OnevisionInputs in = model_inputs(b, Dtype::f32, cpu());
  report.line("pictures", {model->encode_images(nullptr, in).value});
  report.line("logits", {logits_of(*model, b)});
  Generation generation(*model, b.input_ids, b.pixel_values, in.grids, 24);
  std::vector<Tensor> logits;
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 24; ++i) {
    logits.push_back(generation.logits());
    ids.push_back(greedy(logits.back()));
    generation.append(ids.back());
  }
  report.line("cached logits", logits);
  report.line("generated ids", {Tensor::of(ids, {24})});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    std::fprintf(stderr, "bits: unknown argument '%s', expected none\n", argv[1]);
    return 2;
  }
  Report report;
  train(report, {"tree", NormaliseBy::global_token_mean, true, true, false, 2});
  train(report, {"recomputed", NormaliseBy::micro_batch_mean, false, true, true, 1});
  train(report, {"chain", NormaliseBy::sample_mean, true, false, false, 2});
  generate_tokens(report);
  report.end();
  return 0;
}
