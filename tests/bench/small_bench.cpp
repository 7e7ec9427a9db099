// One training step of configs/model/small.json on the pack of small_step.json. The peers are the same step in PyTorch,
// eager and with its layers through torch.compile (tests/bench/pytorch_step.py), run in turns with ours when --torch
// names a Python that has PyTorch. Ours in bf16 runs in turns with ours in f32 after them.
#include <cstdio>
#include <fstream>
#include <memory>

#include "base/parallel.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "kernels/cpu/peak.h"
#include "nn/init.h"
#include "tests/bench/described_step.h"
#include "tests/bench/torch_peer.h"
#include "tests/model/packed_rows.h"

namespace ov::bench {
namespace {

constexpr int rounds = 5;
constexpr const char* description = "tests/bench/small_step.json";

// Bytes of this process: VmRSS now, or VmHWM, the most since reset_peak().
std::int64_t resident(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what)) return 1024 * std::atoll(line.c_str() + what.size() + 1);
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Seconds of a step in turns: those of the clock, and those of the processor.
struct Times {
  std::vector<double> clock, processor;
};

struct Ours {
  Ours(const Config& described, const Json& step, Dtype dtype)
      : model(config_of(described, step)), source(step, model.config().vision) {
    model.parameters().allocate(dtype, cpu());
    initialize(model.parameters(), cli::init_options(described), 1);
    TrainOptions o;
    o.steps = 1000000;
    o.checksum_every = 0;
    o.schedule = {.peak = 1e-5, .warmup = 0, .decay = "constant"};  // a higher one would learn the batch by heart
    trainer = std::make_unique<ov::test::Training>(model, source, o);
    trainer->step();
  }
  static ModelConfig config_of(const Config& described, const Json& step) {
    ModelConfig c;
    c.vision = cli::described_vision(described), c.text = cli::described_text(described);
    c.image_token = step.at("image_token").as_int();
    return c;
  }
  void turn() {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    trainer->step();  // another has just had the caches
    const double start = processor_seconds();
    times.clock.push_back(trainer->step().seconds);
    times.processor.push_back(processor_seconds() - start);
  }

  Onevision model;
  DescribedStep source;
  std::unique_ptr<ov::test::Training> trainer;
  Times times;
};

struct Torch {
  const char* name;
  std::vector<std::unique_ptr<Peer>> peers;  // by threads
  std::vector<Times> times = std::vector<Times>(peers.size());
};

struct Medians {
  double clock, processor;
};
Medians line(const char* name, int threads, const Times& t) {
  const Timing clock = summary(t.clock), processor = summary(t.processor);
  std::printf("  %-14s %d threads   a step: median %6.3f s, best %6.3f s; of processors %6.3f s, best %6.3f s", name,
              threads, clock.median, clock.best, processor.median, processor.best);
  return {clock.median, processor.median};
}

void small() {
  const Json step = Json::read(description);
  const Config described = Config::parse(cli::keys(), "pretrain", {"--config", "configs/model/small.json"});
  const int all = threads();
  const std::int64_t before = resident("VmRSS:");
  Ours ours(described, step, Dtype::f32);
  reset_peak();
  const StepReport first = ours.trainer->step();
  const double peak_mb = 1e-6 * static_cast<double>(resident("VmHWM:") - before);
  std::printf("small: configs/model/small.json, %lld parameters, a pack of %lld tokens (%lld labelled), %lld patches\n",
              static_cast<long long>(ours.model.parameters().trained()), static_cast<long long>(first.tokens),
              static_cast<long long>(first.labelled), static_cast<long long>(first.patches));
  std::fflush(stdout);

  std::vector<Torch> torch;
  torch.push_back({"PyTorch eager,", torch_peers("small", 1, all)});
  torch.push_back({"torch.compile,", torch_peers("small", 1, all, "--compile")});
  for (const Torch& t : torch)
    for (const auto& peer : t.peers) {
      check_same(description, peer->facts, "trained", ours.model.parameters().trained());
      check_same(description, peer->facts, "tokens", first.tokens);
      check_same(description, peer->facts, "labelled", first.labelled);
      check_same(description, peer->facts, "patches", first.patches);
      check_same(description, peer->facts, "visible_pairs", ours.source.visible_pairs());
    }
  for (int round = 0; round < rounds; ++round) {
    ours.turn();
    for (Torch& t : torch)
      for (std::size_t i = 0; i < t.peers.size(); ++i) {
        t.times[i].clock.push_back(t.peers[i]->seconds());
        t.times[i].processor.push_back(t.peers[i]->processor_seconds);
      }
  }

  const double peak = kernels::cpu::fma_peak_flops(all), flops = 2 * static_cast<double>(first.products);
  const Medians mine = line("ours, f32,", all, ours.times);
  std::printf("\n  share of the FMA peak (%.0f GFLOP/s) of %.0f GFLOP: %.2f; by processor time %.2f;", 1e-9 * peak,
              1e-9 * flops, flops / mine.clock / peak, flops * all / mine.processor / peak);
  std::printf(" a step takes %.0f MB at most beyond the program\n", peak_mb);
  for (Torch& t : torch) {
    Medians best{1e9, 1e9};
    for (std::size_t i = 0; i < t.peers.size(); ++i) {
      const Medians m = line(t.name, t.peers[i]->threads, t.times[i]);
      const auto bytes = [&](const char* what) { return 1e-6 * t.peers[i]->facts.at(what).as_double(); };
      std::printf("; %.0f MB at most, %.0f MB of it before there was a model\n", bytes("peak_bytes"),
                  bytes("libraries_bytes"));
      best = {std::min(best.clock, m.clock), std::min(best.processor, m.processor)};
    }
    if (!t.peers.empty())
      std::printf("  ratio %s / ours, medians, at its best number of threads: %.2f; by processor time %.2f\n", t.name,
                  best.clock / mine.clock, best.processor / mine.processor);
  }
  torch.clear();  // their memory

  Ours narrow(described, step, Dtype::bf16);
  ours.times = {};
  for (int round = 0; round < rounds; ++round) ours.turn(), narrow.turn();
  const Medians wide = line("ours, f32,", all, ours.times);
  std::printf("\n");
  const Medians bf16 = line("ours, bf16,", all, narrow.times);
  std::printf("\n  bf16 / f32, medians: %.2f; by processor time %.2f\n", bf16.clock / wide.clock,
              bf16.processor / wide.processor);
}

const Benchmark registered("small", small);

}  // namespace
}  // namespace ov::bench
