// One training step of configs/model/tiny.json on 4 rows of 76 tokens and 44 patches: forward, backward, clipping,
// AdamW. The peer is the same step in PyTorch eager (tests/bench/pytorch_step.py), run in turns with ours when
// --torch names a Python that has PyTorch.
#include <cstdio>

#include "base/parallel.h"
#include "base/rng.h"
#include "kernels/cpu/peak.h"
#include "nn/init.h"
#include "tests/bench/torch_peer.h"
#include "tests/model/packed_rows.h"

namespace ov::bench {
namespace {

ModelConfig tiny() {
  ModelConfig c;
  c.vision = {.depth = 2, .hidden = 96, .heads = 3, .intermediate = 384};
  c.text = {
      .vocabulary = 278, .hidden = 128, .intermediate = 256, .layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 32};
  c.text.rope_theta = 1e4;
  c.text.tied = true;
  c.image_token = 277;
  return c;
}

constexpr std::int64_t rows = 4, tokens = 76, patches = 44, image_tokens = patches / 4;

// A row: one picture, then text, all of which is labelled.
void add_row(MicroBatch& b, std::uint64_t seed) {
  const Philox random(seed, "bench");
  const std::int64_t begin = b.tokens();
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t id =
        t < image_tokens ? 277 : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(t), 277));
    b.input_ids.push_back(id);
    b.labels.push_back(t < image_tokens ? ignored_label : id);
    b.positions.push_back(t);
  }
  b.segments.push_back({begin, tokens, -1});
  b.sample_of_segment.push_back(b.samples++);
  b.grids.push_back({1, 2, 22});
}

class SameStep : public StepSource {
 public:
  explicit SameStep(std::int64_t micro_batches) {
    step_.micro_batches.resize(static_cast<std::size_t>(micro_batches));
    for (std::int64_t r = 0; r < rows; ++r)
      add_row(step_.micro_batches[static_cast<std::size_t>(r % micro_batches)], static_cast<std::uint64_t>(r));
    for (MicroBatch& b : step_.micro_batches) {
      const Philox random(7, "bench pixels");
      b.pixel_values = Tensor({b.samples * patches, 588}, Dtype::f32, cpu(), Segment::data);
      for (std::int64_t i = 0; i < b.pixel_values.numel(); ++i)
        b.pixel_values.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
    }
  }
  GlobalStep next() override { return step_; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

 private:
  GlobalStep step_;
};

struct Ours {
  explicit Ours(std::int64_t micro_batches) : model(tiny()), source(micro_batches) {
    model.parameters().allocate(Dtype::f32, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
    TrainOptions o;
    o.steps = 1000000;
    o.checksum_every = 0;
    trainer = std::make_unique<ov::test::Training>(model, source, o);
  }
  Onevision model;
  SameStep source;
  std::unique_ptr<ov::test::Training> trainer;
};

void step() {
  const int all = threads();
  std::printf("step: configs/model/tiny.json, 4 rows of 76 tokens and 44 patches\n");
  std::vector<std::unique_ptr<Ours>> ours;
  for (std::int64_t m : {1, 4}) ours.push_back(std::make_unique<Ours>(m));
  const auto peers = torch_peers("tiny", 1, all);
  std::vector<std::vector<double>> mine(ours.size()), theirs(peers.size());
  std::int64_t products = 0;
  for (int round = 0; round < 40; ++round) {
    for (std::size_t i = 0; i < ours.size(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      ours[i]->trainer->step();
      const StepReport r = ours[i]->trainer->step();
      products = r.products;
      mine[i].push_back(r.seconds);
    }
    for (std::size_t i = 0; i < peers.size(); ++i) theirs[i].push_back(peers[i]->seconds());
  }
  double best = 1e9, peer = 1e9;
  const double peak = kernels::cpu::fma_peak_flops(all);
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const Timing t = summary(mine[i]);
    best = std::min(best, t.median);
    std::printf("  ours, %d threads, %d micro-batches of %d rows   median %6.2f ms  best %6.2f ms  MFU %.0f%%\n", all,
                i ? 4 : 1, i ? 1 : 4, 1e3 * t.median, 1e3 * t.best,
                100 * 2 * static_cast<double>(products) / t.median / peak);
  }
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const Timing t = summary(theirs[i]);
    peer = std::min(peer, t.median);
    std::printf("  PyTorch eager, %d threads                      median %6.2f ms  best %6.2f ms\n", peers[i]->threads,
                1e3 * t.median, 1e3 * t.best);
  }
  if (!peers.empty()) std::printf("  ratio PyTorch / ours, medians, each at its best: %.2f\n", peer / best);
}

const Benchmark registered("step", step);

}  // namespace
}  // namespace ov::bench
