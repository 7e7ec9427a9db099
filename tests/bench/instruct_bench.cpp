// Ten steps of the recipe's instruction stage: configs/model/demo.json on the two packs of instruct_step.json, all
// modules trained as configs/demo/instruct.json says. The peer is the same in PyTorch eager (tests/bench/
// pytorch_step.py), run in turns with ours when --torch names a Python that has PyTorch.
#include <cstdio>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "kernels/cpu/peak.h"
#include "tests/bench/torch_peer.h"
#include "tests/model/packed_rows.h"

namespace ov::bench {
namespace {

constexpr int steps = 10;   // of a timing
constexpr int rounds = 15;  // ours, then every peer
constexpr const char* description = "tests/bench/instruct_step.json";

// Appends a segment of random text whose last `labelled` tokens are to be learnt.
void add_segment(MicroBatch& b, std::int64_t length, std::int64_t prefix, std::int64_t labelled) {
  const Philox random(static_cast<std::uint64_t>(b.samples), "bench");
  const std::int64_t begin = b.tokens();
  const std::int64_t first = prefix < 0 ? 0 : b.segments[static_cast<std::size_t>(prefix)].length;
  for (std::int64_t t = 0; t < length; ++t) {
    const auto id = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(begin + t), 256));
    b.input_ids.push_back(id);
    b.labels.push_back(t < length - labelled ? ignored_label : id);
    b.positions.push_back(first + t);
  }
  b.segments.push_back({begin, length, prefix});
  b.sample_of_segment.push_back(b.samples);
}

MicroBatch pack_of(const Json& pictures, const Json& step, const VisionConfig& vision) {
  MicroBatch b;
  std::int64_t patches = 0;
  for (const Json& picture : pictures.items()) {
    const std::int64_t h = picture.at("grid")[0].as_int(), w = picture.at("grid")[1].as_int();
    const std::int64_t tokens = h * w / (vision.merge * vision.merge), before = step.at("before").as_int();
    const auto prefix = static_cast<std::int64_t>(b.segments.size());
    const auto image = static_cast<std::ptrdiff_t>(b.tokens() + before);
    add_segment(b, before + tokens + step.at("after").as_int(), -1, 0);
    std::fill_n(b.input_ids.begin() + image, tokens, step.at("image_token").as_int());
    for (const Json& question : picture.at("questions").items())
      add_segment(b, question[0].as_int(), prefix, question[1].as_int());
    b.grids.push_back({1, h, w});
    patches += h * w;
    ++b.samples;
  }
  const Philox random(7, "bench pixels");
  b.pixel_values = Tensor({patches, vision.patch_values()}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t i = 0; i < b.pixel_values.numel(); ++i)
    b.pixel_values.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  return b;
}

class SameStep : public StepSource {
 public:
  SameStep(const Json& step, const VisionConfig& vision) {
    for (const Json& pack : step.at("packs").items()) {
      step_.micro_batches.push_back(pack_of(pack, step, vision));
      const MicroBatch& b = step_.micro_batches.back();
      step_.samples += b.samples;
      step_.tokens += b.tokens();
      step_.patches += b.pixel_values.dim(0);
    }
  }
  GlobalStep next() override { return step_; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

  // Query-key pairs over all packs.
  std::int64_t visible_pairs() const {
    std::int64_t pairs = 0;
    for (const MicroBatch& b : step_.micro_batches)
      for (const TokenSegment& s : b.segments) {
        pairs += s.length * (s.length + 1) / 2;
        if (s.prefix >= 0) pairs += s.length * b.segments[static_cast<std::size_t>(s.prefix)].length;
      }
    return pairs;
  }

 private:
  GlobalStep step_;
};

TrainOptions stage_options() {
  const Config stage = Config::parse(cli::keys(), "train", {"--config", "configs/demo/instruct.json"});
  TrainOptions o = cli::train_options(stage);
  o.steps = 1000000;
  o.schedule = {.peak = 1e-5, .warmup = 0, .decay = "constant"};  // the stage's rate would learn the one batch by heart
  o.optimizer.visual_lr_scale = stage.number("optimizer.lr_scale.visual");
  o.modules = stage.list("train.modules");
  o.train_class_params = cli::class_params_option(stage);
  o.checksum_every = 0, o.floor = false;
  return o;
}

// Both sides say what they compute: a peer that computes something else is none.
void check_same(const Json& facts, const char* name, std::int64_t ours) {
  if (const std::int64_t theirs = facts.at(name).as_int(); theirs != ours)
    input_error(description, ": ", name, ": ours has ", ours, ", pytorch_step.py ", theirs);
}

double best_median(const char* name, int threads, const std::vector<double>& times) {
  const Timing t = summary(times);
  std::printf("  %-14s %d threads   %d steps: median %7.1f ms, best %7.1f ms;   a step %6.2f ms", name, threads, steps,
              1e3 * t.median, 1e3 * t.best, 1e3 * t.median / steps);
  return t.median;
}

void instruct() {
  const Json step = Json::read(description);
  const std::string vocabulary = std::to_string(step.at("vocabulary").as_int());
  const Config described =
      Config::parse(cli::keys(), "pretrain", {"--config", "configs/model/demo.json", "--text.vocabulary", vocabulary});
  ModelConfig config;
  config.vision = cli::described_vision(described), config.text = cli::described_text(described);
  config.image_token = step.at("image_token").as_int();
  Onevision model(config), narrow(config);
  model.parameters().allocate(Dtype::f32, cpu());
  narrow.parameters().allocate(Dtype::bf16, cpu());
  for (Onevision* m : {&model, &narrow}) initialize(m->parameters(), cli::init_options(described), 1);
  SameStep source(step, config.vision);
  ov::test::Training trainer(model, source, stage_options()), narrow_trainer(narrow, source, stage_options());
  const StepReport first = trainer.step();
  const int all = threads();
  std::printf(
      "instruct: configs/model/demo.json, %lld packs, %lld tokens (%lld labelled), %lld pictures, %lld patches\n",
      static_cast<long long>(step.at("packs").size()), static_cast<long long>(first.tokens),
      static_cast<long long>(first.labelled), static_cast<long long>(first.samples),
      static_cast<long long>(first.patches));

  const auto peers = torch_peers("instruct", steps, all);
  for (const auto& peer : peers) {
    check_same(peer->facts, "trained", model.parameters().trained());
    check_same(peer->facts, "tokens", first.tokens);
    check_same(peer->facts, "labelled", first.labelled);
    check_same(peer->facts, "patches", first.patches);
    check_same(peer->facts, "visible_pairs", source.visible_pairs());
  }
  std::vector<double> mine, in_bf16;
  std::vector<std::vector<double>> theirs(peers.size());
  for (int round = 0; round < rounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    for (auto [ours, times] : {std::pair{&trainer, &mine}, {&narrow_trainer, &in_bf16}}) {
      ours->step();  // another has just had the caches
      const double start = seconds();
      for (int i = 0; i < steps; ++i) ours->step();
      times->push_back(seconds() - start);
    }
    for (std::size_t i = 0; i < peers.size(); ++i) theirs[i].push_back(peers[i]->seconds());
  }

  const double ours = best_median("ours,", all, mine);
  std::printf("  MFU %.0f%%\n",
              100 * 2.0 * steps * static_cast<double>(first.products) / ours / kernels::cpu::fma_peak_flops(all));
  const double bf16 = best_median("ours, bf16,", all, in_bf16);
  std::printf("  bf16 / f32, medians: %.2f\n", bf16 / ours);
  double peer = 1e9;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    peer = std::min(peer, best_median("PyTorch eager,", peers[i]->threads, theirs[i]));
    const auto chose = [&](const char* what) { return peers[i]->facts.at(what).as_string(); };
    std::printf("  (%s; tower: %s; AdamW %s)\n", chose("attention").c_str(), chose("tower").c_str(),
                chose("adamw").c_str());
  }
  if (!peers.empty()) std::printf("  ratio PyTorch / ours, medians, each at its best: %.2f\n", peer / ours);
}

const Benchmark registered("instruct", instruct);

}  // namespace
}  // namespace ov::bench
