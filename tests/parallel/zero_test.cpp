// Data parallelism and ZeRO against one rank: bits, bytes and memory.
#include <doctest/doctest.h>

#include <bit>
#include <span>

#include "base/sha256.h"
#include "kernels/adamw.h"
#include "parallel/bytes.h"
#include "parallel/mesh.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/comm/forked_ranks.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

GlobalStep step_of(std::int64_t leaves) {
  std::vector<MicroBatch> rows(static_cast<std::size_t>(leaves));
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (i != 1) add_sample(rows[i], i + 1, i % 2 ? 0 : 2, 2, 5 + static_cast<std::int64_t>(i));  // row 1: all faulty
  return as_step(rows);
}

struct Case {
  std::int64_t leaves = 8;
  Dtype dtype = Dtype::f32;
  int zero = 0;
  std::int64_t checksum_every = 1;
  ModelConfig model = small_config();
  std::vector<std::string> modules = {"language_model", "vision_model"};  // what is frozen lies between
  bool recompute = false;
  int experts = 1;
  bool overlap = false;
};

struct Run {
  HostDevice device{Device::Kind::cpu, "test", cpu().table};
  Mesh mesh;
  Onevision model;
  FixedSteps data;
  LanguageObjective objective;
  StepEngine engine;
  Run(const Case& c, Communicator& ranks)
      : mesh(ranks, 1, 1, 1, c.experts),
        model(c.model, mesh.tensor, mesh.pipe, 1, mesh.experts),
        data({step_of(c.leaves)}),
        objective(allocated(c), data, options(c)),
        engine(objective, options(c), mesh.data) {}

  Onevision& allocated(const Case& c) {
    model.parameters().allocate(c.dtype, device);
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
    model.recompute_blocks = c.recompute;
    return model;
  }
  static TrainOptions options(const Case& c) {
    TrainOptions o;
    o.steps = 4;
    o.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0.1, .first_step = 1};
    o.optimizer.weight_decay = 0.1;
    o.optimizer.clip_grad = 0.1;
    o.modules = c.modules;
    o.zero = c.zero, o.experts = c.experts;
    if (c.dtype == Dtype::bf16) o.optimizer.moments = Moments::bf16_stochastic;
    o.checksum_every = c.checksum_every;
    o.overlap = c.overlap, o.bucket = 2 * kernels::norm_chunk;  // of which the model has several
    return o;
  }
  std::string steps(int n) { return steps_of(engine, n); }
  void save(const std::string& out) { save_checkpoint(out, engine.state(), Json::object()); }
};

std::string files_of(const std::string& out) { return saved_bits(checkpoints(out).back()); }

}  // namespace

TEST_CASE(
    "data parallel, ZeRO 1, 2 and 3: reports, checkpoints and what goes on from them are one rank's, bit for bit "
    "(R-28, R-29, R-31)") {
  const ScratchDirectory dir;
  int folder = 0;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const std::int64_t leaves : {8, 6}) {
      Run one({leaves, dtype}, one_rank());
      const std::string first = one.steps(2), rest = one.steps(2), alone = dir / cat(folder++);
      one.save(alone);
      struct Half {
        int ranks, zero;
      };
      const std::pair<Half, Half> all[] = {{{2, 0}, {4, 1}}, {{4, 1}, {1, 0}}, {{2, 2}, {3, 1}}, {{4, 3}, {2, 3}},
                                           {{1, 0}, {4, 2}}, {{3, 0}, {2, 2}}, {{5, 1}, {8, 3}}};
      for (const auto& [before, after] : std::span(all).first(dtype == Dtype::f32 && leaves == 8 ? 7 : 4)) {
        const bool overlap = folder % 2;  // in the first half; if not there, in the second
        const std::string out = dir / cat(folder++),
                          what = cat(before.ranks, "/", before.zero, " then ", after.ranks, "/", after.zero);
        INFO(what);
        all_well(in_ranks(before.ranks, 60, [&, half = before](ProcessRanks& ranks) {
          Run run({.leaves = leaves, .dtype = dtype, .zero = half.zero, .overlap = overlap}, ranks);
          require(run.steps(2) == first, "the first steps");
          run.save(out);
          ranks.barrier();
        }));
        all_well(in_ranks(after.ranks, 60, [&, half = after](ProcessRanks& ranks) {
          Run run({.leaves = leaves, .dtype = dtype, .zero = half.zero, .overlap = !overlap}, ranks);
          TrainingState state = run.engine.state();
          const std::string newest = checkpoints(out).back();
          load_checkpoint(newest, checked_checkpoint(newest), state);
          run.engine.restore(state);
          require(run.steps(2) == rest, "the steps after");
          ranks.barrier();
          run.save(out);
          ranks.barrier();
        }));
        CHECK(files_of(out) == files_of(alone));
      }
    }
}

TEST_CASE("ZeRO 3: every freeze set, with recomputation and without, and experts that are shared, keep the bits") {
  ModelConfig mixture = small_config();
  mixture.text.experts = 4, mixture.text.experts_per_token = 2, mixture.text.expert_intermediate = 24;
  for (Case c : {Case{.modules = {"adapter"}}, Case{.modules = {"language_model"}}, Case{.recompute = true},
                 Case{.dtype = Dtype::bf16, .modules = {"vision_model"}, .recompute = true}, Case{.model = mixture},
                 Case{.model = mixture, .recompute = true, .experts = 2}}) {
    c.leaves = 6;
    const int experts = std::exchange(c.experts, 1);
    Run one(c, one_rank());
    const auto said = [&](Run& run) {
      if (c.modules.size() > 1) return run.steps(2);
      // Without the count of products, which backward through a frozen model adds to where others have pictures.
      std::string all;
      for (int i = 0; i < 2; ++i) {
        const StepReport r = run.engine.step();
        all += cat(std::bit_cast<std::uint64_t>(r.loss), " ", std::bit_cast<std::uint64_t>(r.gradient_norm), " ",
                   r.checksums->gradients, " ", r.checksums->parameters, "\n");
      }
      return all;
    };
    const std::string expected = said(one);
    all_well(in_ranks(4, 60, [&](ProcessRanks& ranks) {
      Case own = c;
      own.zero = 3, own.experts = experts, own.overlap = c.recompute && experts == 1;
      Run run(own, ranks);
      require(said(run) == expected, cat("one rank's bits, experts ", experts));
      ranks.barrier();
    }));
  }
}

TEST_CASE("what leaves the ranks in a step, and what they hold, is what each strategy's file says") {
  constexpr std::int64_t L = 8;
  const Run alone({L, Dtype::f32}, one_rank());
  const std::int64_t tables =
      alone.device.memory().bytes[static_cast<std::size_t>(Segment::weights)] - 4 * alone.model.parameters().count();
  for (const std::int64_t N : {2, 4})
    for (const int zero : {0, 1, 2, 3, 4, 5, 6, 7})  // from 4 on with overlap
      all_well(in_ranks(static_cast<int>(N), 60, [=, zero = zero % 4, overlap = zero > 3](ProcessRanks& ranks) {
        Run run({.leaves = L, .zero = zero, .checksum_every = 0, .overlap = overlap}, ranks);
        const auto sent_so_far = [&] { return run.mesh.data.sent() + run.mesh.data.beside()->communicator().sent(); };
        const std::int64_t before = sent_so_far();
        run.engine.step();
        const Tensor sent = Tensor::of(std::vector<std::int64_t>{sent_so_far() - before}, {1});
        ranks.all_reduce(sent);
        const std::int64_t P = run.model.parameters().trained();
        const Parameters& parameters = run.model.parameters();
        std::vector<std::int64_t> blocks(static_cast<std::size_t>(parameters.blocks()));
        std::int64_t frame = 0, frame_trained = 0, gathered = 0;
        for (const auto& e : parameters.entries()) {
          const std::int64_t n = e.shape.numel();
          if (e.block >= 0) blocks[static_cast<std::size_t>(e.block)] += n, gathered += 2 * L / N * n;
          else frame += n, frame_trained += e.parameter.trainable ? n : 0;
        }
        gathered -= L / N * blocks.back() + (L / N - 1) * blocks.front();
        const std::int64_t expected = DataBytes{.ranks = N,
                                                .leaves = L,
                                                .trained = P,
                                                .zero = zero,
                                                .bucket = overlap ? run.engine.options().bucket : 0,
                                                .gathered = gathered + frame_trained,
                                                .reports = 1 + run.objective.scalars()}
                                          .total();
        const std::int64_t total = sent.to_vector<std::int64_t>()[0];
        require(total == expected, cat("zero ", zero, ", ", N, " ranks: ", total, " bytes, expected ", expected));

        run.device.reset_peaks();
        run.engine.step();
        const MemoryUse memory = run.device.memory();
        const auto peak = [&](Segment s) { return memory.peak[static_cast<std::size_t>(s)]; };
        const auto rounded = [](std::int64_t elements) { return elements * 4; };
        const std::int64_t own = run.engine.optimizer().own().size(),
                           sums = std::bit_width(static_cast<std::uint64_t>(L / N));
        require((zero == 0) == (own == P) && std::abs(own - P / (zero ? N : 1)) <= kernels::norm_chunk,
                "an even share");
        require(peak(Segment::optimizer) == 2 * rounded(own), cat("moments: ", peak(Segment::optimizer), " bytes"));
        const std::int64_t gradients = zero >= 2 ? rounded(P) + sums * rounded(own) : sums * rounded(P);
        require(peak(Segment::gradients) == gradients,
                cat("zero ", zero, ", gradients: ", peak(Segment::gradients), " bytes, expected ", gradients));
        const std::int64_t kept = parameters.own_values() ? parameters.own_values().numel() : 0,
                           largest = *std::max_element(blocks.begin(), blocks.end()),
                           values = rounded(zero == 3 ? kept + frame + largest : parameters.count()) + tables;
        require(peak(Segment::weights) == values,
                cat("zero ", zero, ", values: ", peak(Segment::weights), " bytes, expected ", values));
        require(zero < 3 || std::abs(kept - parameters.count() / N) <= 2 * kernels::norm_chunk,
                "an even share of values");
      }));
}

TEST_CASE("mesh: what every rank is said to run, update and hold tells the stages of ZeRO apart") {
  const std::string held[] = {
      "\n", ", moments of what it updates\n", ", gradients and moments of what it updates\n",
      ", of the values a share and one layer at a time, gradients and moments of what it updates\n"};
  for (const int zero : {0, 1, 2, 3})
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      const Run run({.zero = zero}, ranks);
      const std::string mesh = run.engine.parallel().describe(8) + "\n";
      const std::int64_t P = run.model.parameters().trained(), all = run.model.parameters().count();
      for (const int r : {0, 1}) {
        const std::string line =
            cat("\n  rank ", r, ": 4 of 8 micro-batches, from ", zero > 1 ? cat(r, " in steps of 2") : cat(4 * r),
                "; updates ", zero > 0 ? shard_of(P, r, 2).size() : P, " of ", P, " parameters, holds ", all, " of ",
                all, held[zero]);
        require(contains(mesh, line), cat("zero ", zero, ": ", mesh, "has no line", line));
      }
    }));
}

// In a round the blocks forward, and back to the first before which something is trained; at its end another block is
// here than the next begins with, but where that is the first of all.
TEST_CASE("ZeRO 3: a block in and before which nothing is trained is gathered forward alone") {
  const std::vector<std::string> frozen_tower = {"adapter"}, frozen_decoder = {"vision_model"};
  for (const auto& modules : {frozen_tower, frozen_decoder})
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      constexpr std::int64_t L = 6, N = 2, R = L / N;
      Run run({.leaves = L, .zero = 3, .checksum_every = 0, .modules = modules}, ranks);
      const Parameters& parameters = run.model.parameters();
      std::vector<std::int64_t> blocks(static_cast<std::size_t>(parameters.blocks()));
      std::int64_t frame = 0;
      for (const auto& e : parameters.entries())
        if (e.block >= 0) blocks[static_cast<std::size_t>(e.block)] += e.shape.numel();
        else frame += e.parameter.trainable ? e.shape.numel() : 0;
      const auto first = static_cast<std::size_t>(modules == frozen_tower ? run.model.config().vision.depth : 0);
      std::int64_t gathered = frame;
      for (std::size_t b = 0; b < blocks.size(); ++b)
        gathered += (R + (b >= first && b + 1 < blocks.size() ? R : 0)) * blocks[b];
      if (first == 0) gathered -= (R - 1) * blocks[0];
      const std::int64_t before = run.mesh.data.sent();
      run.engine.step();
      const Tensor sent = Tensor::of(std::vector<std::int64_t>{run.mesh.data.sent() - before}, {1});
      ranks.all_reduce(sent);
      const std::int64_t total = sent.to_vector<std::int64_t>()[0],
                         expected = DataBytes{.ranks = N,
                                              .leaves = L,
                                              .trained = parameters.trained(),
                                              .zero = 3,
                                              .gathered = gathered,
                                              .reports = 1 + run.objective.scalars()}
                                        .total();
      require(total == expected, cat(modules[0], ": ", total, " bytes, expected ", expected));
    }));
}

TEST_CASE("a model of less than one chunk is one rank's alone, and its checkpoint one rank's") {
  const ScratchDirectory dir;
  const Case least{.leaves = 3, .model = least_config(), .modules = {"language_model"}};
  Run one(least, one_rank());
  one.steps(1), one.save(dir / "one");
  REQUIRE(one.model.parameters().trained() < kernels::norm_chunk);
  for (const int zero : {0, 1}) {
    const std::string out = dir / cat(zero);
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      Case c = least;
      c.zero = zero;
      Run run(c, ranks);
      run.steps(1), run.save(out);
      ranks.barrier();
    }));
    CHECK(files_of(out) == files_of(dir / "one"));
  }
}

TEST_CASE("ZeRO 2 and 3 of three ranks are refused, since their sums would not be one rank's") {
  for (const int zero : {2, 3}) {
    const auto ended = in_ranks(3, 60, [&](ProcessRanks& ranks) { Run({8, Dtype::f32, zero}, ranks); });
    int said = 0;
    for (const Ended& e : ended) {
      CHECK(e.exit == 2);
      said += contains(e.error, cat("parallel.zero ", zero, " with 3 ranks: expected a power of two"));
    }
    CHECK(said == 1);
  }
}

TEST_CASE("ZeRO 3 of what it cannot divide, or of other weights, is refused by name") {
  std::string all;
  for (const Ended& e : in_ranks(4, 60, [](ProcessRanks& ranks) {
         Mesh mesh(ranks, 1, 2);
         Onevision model(small_config(), mesh.tensor, mesh.pipe);
         model.parameters().allocate(Dtype::f32, cpu());
         data_parallel(3, mesh.data, model.parameters());
       }))
    all += e.error;
  for (const Ended& e : in_ranks(2, 60, [](ProcessRanks& ranks) {
         Onevision model(small_config());
         model.parameters().adapt({.rank = 2, .targets = {"q_proj"}});
         model.parameters().allocate(Dtype::f32, cpu());
         data_parallel(3, ranks, model.parameters());
       }))
    all += e.error;
  for (const Ended& e : in_ranks(4, 60, [](ProcessRanks& ranks) {
         Onevision model(small_config());
         model.parameters().allocate(Dtype::f32, cpu());
         initialize(model.parameters(), {.matrix = "uniform_fan_in"}, ranks.rank() == 2 ? 2 : 1);
         data_parallel(3, ranks, model.parameters());
         ranks.barrier();
       }))
    all += e.error;
  CHECK(contains(all, "parallel.zero 3: rank 2 starts from other weights than rank 0"));
  CHECK(contains(all, "parallel.zero 3 with parallel.pipeline 2: not built"));
  CHECK(contains(all, "parallel.zero 3 with lora.rank: not built"));
}

TEST_CASE("shards are whole chunks of the norm, cover everything once, and differ by one chunk at most") {
  for (const std::int64_t n : {0, 1, 4095, 4096, 4097, 50000, 1000003})
    for (const int ranks : {1, 2, 3, 4, 7, 64}) {
      std::int64_t next = 0, least = n, most = 0;
      for (int r = 0; r < ranks; ++r) {
        const Range s = shard_of(n, r, ranks);
        CHECK(s.begin == next);
        CHECK((s.begin % kernels::norm_chunk == 0 || s.begin == n));
        next = s.end, least = std::min(least, s.size()), most = std::max(most, s.size());
      }
      CHECK(next == n);
      CHECK(most - least <= 2 * kernels::norm_chunk);
    }
}
