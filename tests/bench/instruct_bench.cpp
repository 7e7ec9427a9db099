// Ten steps of the recipe's instruction stage: configs/model/demo.json on the two packs of instruct_step.json, all
// modules trained as configs/demo/instruct.json says. The peer is the same in PyTorch eager (tests/bench/
// pytorch_step.py), run in turns with ours when --torch names a Python that has PyTorch.
#include <cstdio>
#include <memory>

#include "base/parallel.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "kernels/cpu/peak.h"
#include "tests/bench/described_step.h"
#include "tests/bench/torch_peer.h"
#include "tests/model/packed_rows.h"

namespace ov::bench {
namespace {

constexpr int steps = 10;   // of a timing
constexpr int rounds = 15;  // ours, then every peer
constexpr const char* description = "tests/bench/instruct_step.json";

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
  DescribedStep source(step, config.vision);
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
    check_same(description, peer->facts, "trained", model.parameters().trained());
    check_same(description, peer->facts, "tokens", first.tokens);
    check_same(description, peer->facts, "labelled", first.labelled);
    check_same(description, peer->facts, "patches", first.patches);
    check_same(description, peer->facts, "visible_pairs", source.visible_pairs());
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
