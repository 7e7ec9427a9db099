// Pipeline parallelism against one rank: bits, the order of work, what is sent.
#include <doctest/doctest.h>

#include <bit>
#include <set>

#include "cli/keys.h"
#include "cli/verbs.h"
#include "comm/absent_ranks.h"
#include "kernels/adamw.h"
#include "parallel/bytes.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  Dtype dtype = Dtype::f32;
  bool tied = true, experts = false, tree = true, recompute = false;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
};

constexpr std::int64_t leaves = 5;

// Steps of one engine, and all that they say; the checkpoint goes to `out`, if given.
struct Run {
  Mesh mesh;
  Onevision model;
  FixedSteps data{{uneven_step(leaves)}};
  LanguageObjective objective;
  StepEngine engine;

  Run(const Case& c, const Ways& ways, Communicator& ranks, std::int64_t checksums = 1)
      : mesh(ranks, ways.tensor, ways.pipeline),
        model(six_layers(c.tied, c.experts), mesh.tensor, mesh.pipe, ways.chunks),
        objective(allocated(c), data, options(c, ways, checksums)),
        engine(objective, options(c, ways, checksums), mesh.data) {}

  Onevision& allocated(const Case& c) {
    model.parameters().allocate(c.dtype, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2}, 1);
    model.recompute_blocks = c.recompute;
    return model;
  }
  static TrainOptions options(const Case& c, const Ways& ways, std::int64_t checksums) {
    TrainOptions o = short_run(4);
    o.optimizer.clip_grad = 0.1;
    o.modules = c.modules, o.tree = c.tree, o.checksum_every = checksums;
    ways.set(o);
    return o;
  }
  std::string steps(int n) { return steps_of(engine, n); }
};

void require_equal(const std::string& got, const std::string& expected) {
  if (got != expected) input_error("not as one rank:\n", got, expected);
}

std::int64_t total(Communicator& ranks, std::int64_t own) {
  const Tensor t = Tensor::of(std::vector<std::int64_t>{own}, {1});
  ranks.all_reduce(t);
  return t.data<std::int64_t>()[0];
}

}  // namespace

TEST_CASE("pipeline: every kind of model, freeze set and type gives one rank's bits, step by step") {
  const std::vector<Ways> ways = {{.pipeline = 2},
                                  {.pipeline = 3},
                                  {.pipeline = 4, .zero = 0},
                                  {.pipeline = 2, .chunks = 3},
                                  {.data = 2, .pipeline = 2, .zero = 1},
                                  {.data = 2, .pipeline = 2, .chunks = 2, .zero = 2}};
  const std::vector<Case> cases = {{},
                                   {.tied = false},
                                   {.experts = true},
                                   {.dtype = Dtype::bf16, .experts = true, .recompute = true},
                                   {.dtype = Dtype::f64, .experts = true},
                                   {.tied = false, .tree = false},
                                   {.tree = false, .modules = {"adapter"}},
                                   {.modules = {"adapter"}},
                                   {.recompute = true, .modules = {"language_model"}},
                                   {.tied = false, .modules = {"vision_model"}}};
  std::size_t next = 0;
  for (const Case& c : cases) {
    Run one(c, {}, one_rank());
    const std::string expected = one.steps(2);
    // In a chain a leaf's place among the ranks shows.
    for (const std::size_t w : {next++ % ways.size(), next++ % ways.size()}) {
      if (!c.tree && ways[w].data > 1) continue;
      INFO("case ", &c - cases.data(), ", ", ways[w].said());
      all_well(in_ranks(ways[w].ranks(), 60, [&](ProcessRanks& ranks) {
        Run run(c, ways[w], ranks);
        require_equal(run.steps(2), expected);
        ranks.barrier();
      }));
    }
  }
}

TEST_CASE(
    "pipeline: a chain that would add a tied table's gradients in another order than one rank is refused by name") {
  for (const Ended& e : in_ranks(2, 60, [&](ProcessRanks& ranks) { Run({.tree = false}, {.pipeline = 2}, ranks); })) {
    CHECK(e.exit == static_cast<int>(Exit::wrong_input));
    CHECK((e.error.empty() || e.error.find("train.grad_sum chain with parallel.pipeline 2") != e.error.npos));
  }
}

TEST_CASE("pipeline: what its ranks send in a step is what parallel/pipeline.h says") {
  for (const bool tied : {true, false})
    for (const bool experts : {false, true})
      for (const Ways& ways : {Ways{.pipeline = 2}, Ways{.pipeline = 3, .chunks = 2}})
        all_well(in_ranks(ways.pipeline, 60, [&](ProcessRanks& ranks) {
          Run run({.tied = tied, .experts = experts}, ways, ranks, 0);
          const std::int64_t start = run.mesh.pipe.sent();
          run.engine.step();
          const std::int64_t sent = total(ranks, run.mesh.pipe.sent() - start);
          const GlobalStep step = uneven_step(leaves);
          std::int64_t T = 0, full = 0;
          for (const MicroBatch& b : step.micro_batches) T += b.tokens(), full += b.tokens() > 0;
          const auto& text = run.model.config().text;
          const std::int64_t B = WholeChunks(run.model.parameters(), run.engine.parallel()).shared();
          const std::int64_t expected = PipelineBytes{.ranks = ways.pipeline,
                                                      .chunks = ways.pipeline * ways.chunks,
                                                      .leaves = full,
                                                      .tokens = T,
                                                      .width = text.hidden,
                                                      .vocabulary = text.vocabulary,
                                                      .experts = experts ? text.experts : 0,
                                                      .tied = tied,
                                                      .trained = run.model.parameters().whole_count().trained,
                                                      .shared = B,
                                                      .reports = 1 + run.objective.scalars()}
                                            .total();
          if (sent != expected) input_error(ways.said(), ": ", sent, " bytes, expected ", expected);
          if (B == 0) input_error("no chunk of the norm is shared: the case says nothing of those");
        }));
}

TEST_CASE("pipeline: every step of every leaf is made once, in its order, by its rank, with the bubble that is said") {
  for (const int p : {1, 2, 3, 4, 8})
    for (const int v : {1, 2, 3})
      for (const std::int64_t L : {1, 2, 3, 4, 5, 8, 12, 24}) {
        INFO("p ", p, ", v ", v, ", L ", L);
        const int K = p * v;
        const auto table = timetable(p, v, L);
        std::vector<int> steps(static_cast<std::size_t>(L), 0), under_way(static_cast<std::size_t>(p), 0),
            most(static_cast<std::size_t>(p), 0);
        for (const auto& row : table) {
          REQUIRE(row.size() == static_cast<std::size_t>(p));
          std::set<std::int64_t> seen;
          for (int r = 0; r < p; ++r) {
            const LeafStep& s = row[static_cast<std::size_t>(r)];
            if (s.leaf < 0) continue;
            CHECK(seen.insert(s.leaf).second);
            CHECK(s.step == steps[static_cast<std::size_t>(s.leaf)]++);
            CHECK((s.step < K ? s.step : 2 * K - 1 - s.step) % p == r);
            int& n = under_way[static_cast<std::size_t>(r)];
            n += s.step < K ? 1 : -1;
            most[static_cast<std::size_t>(r)] = std::max(most[static_cast<std::size_t>(r)], n);
          }
        }
        for (const int s : steps) CHECK(s == 2 * K);
        // What a rank holds; fewer would do where messages took no time.
        for (int r = 0; r < p; ++r) {
          const int n = v == 1 ? p - r : 2 * (p - r - 1) + (v - 1) * p + 1, held = most[static_cast<std::size_t>(r)];
          CHECK(held <= n);
          if (L == 24) CHECK(held == n);
        }
        const auto least = static_cast<std::size_t>(2 * (v * L + p - 1));
        CHECK(table.size() >= least);
        if (v == 1 || L % p == 0) CHECK(table.size() == least);
      }
}

TEST_CASE("pipeline: layers are divided so that the most costly chunk is the cheapest that there is") {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Philox random(seed, "costs");
    const auto n = static_cast<std::size_t>(2 + random.below(0, 5));
    std::vector<double> costs;
    for (std::size_t i = 0; i < n; ++i) costs.push_back(static_cast<double>(1 + random.below(i + 1, 9)));
    const double first = static_cast<double>(random.below(20, 20)), last = static_cast<double>(random.below(21, 20));
    for (int count = 1; count <= static_cast<int>(n) + 2; ++count) {
      const Chunks found = Chunks::balanced(costs, first, last, count);
      const auto most = [&](const std::vector<std::size_t>& ends) {
        double worst = 0;
        std::size_t at = 0;
        for (std::size_t c = 0; c < ends.size(); ++c) {
          double cost = (c == 0 ? first : 0) + (c + 1 == ends.size() ? last : 0);
          if (at == ends[c] && c != 0 && c + 1 != ends.size()) return INFINITY + 0.0;
          for (; at < ends[c]; ++at) cost += costs[at];
          worst = std::max(worst, cost);
        }
        return worst;
      };
      std::vector<std::size_t> ends(static_cast<std::size_t>(count)), own;
      double best = INFINITY;
      const std::function<void(std::size_t, std::size_t)> all = [&](std::size_t c, std::size_t from) {
        if (c + 1 == ends.size()) {
          ends[c] = n, best = std::min(best, most(ends));
          return;
        }
        for (ends[c] = from; ends[c] <= n; ++ends[c]) {
          const std::size_t end = ends[c];
          all(c + 1, end), ends[c] = end;
        }
      };
      all(0, 0);
      std::int64_t next = 0;
      for (const Range& r : found.layers) {
        CHECK(r.begin == next);
        next = r.end, own.push_back(static_cast<std::size_t>(r.end));
      }
      CHECK(most(own) == best);
    }
  }
  // The tower decides how long a slot is; the others are as even as they can be.
  const Chunks even = Chunks::balanced({1, 1, 1, 1}, 4, 0, 3);
  CHECK(even.layers[0].end == 0);
  CHECK(even.layers[1].end == 2);
}

// In layers of the 8B's decoder, of 4096 x (2 (32 + 8) 128 + 3 x 12288) multiply-adds a token, its tower and merger
// come to 3.2 for the tokens that are a picture's, half of all, and the head to 1.6 for those that have a label.
TEST_CASE("pipeline: the tower and the head take the place of layers in the stages that have them") {
  const auto layers = [](bool tower, const char* depth) {
    const Config config =
        Config::parse(cli::keys(), "plan", {"--config", "configs/model/8b.json", "--vision.depth", depth});
    ModelConfig m;
    m.has_tower = tower, m.vision = cli::described_vision(config), m.text = cli::described_text(config);
    AbsentRanks pipe(0, 4, [](Call, const Parts&, const Parts&, bool) {});
    const Onevision model(m, one_rank(), pipe);
    std::string all;
    for (const Range& r : model.chunks().layers) all += cat(r.size(), " ");
    return all;
  };
  CHECK(layers(true, "24") == "7 10 10 9 ");    // with the tower 10.2, with the head 10.6
  CHECK(layers(true, "48") == "5 11 11 9 ");    // with a tower of 6.3 11.3, with the head 10.6
  CHECK(layers(false, "24").ends_with(" 8 "));  // with the head 9.6: the others have 10, 9 and 9
}

TEST_CASE("pipeline: 20 steps in stages, resumed by other ranks, are one rank's: log, weights and moments") {
  const MeshWorld world;
  const TrainJob one = world.saved_job("one");
  quietly(one);
  TrainJob job = world.saved_job("other");
  in_mesh({.pipeline = 2, .chunks = 2}, job);
  CHECK(files_of(job) == files_of(one));
  cut(job);
  in_mesh({.data = 2, .pipeline = 2}, job);
  CHECK(files_of(job) == files_of(one));
}

TEST_CASE("pipeline: 20 steps of every mesh, dense and with experts, each resumed by another" * doctest::skip()) {
  const Strings experts = {"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "32"};
  for (const Strings& more : {Strings(), experts})
    same_files_in(MeshWorld(more), {{.pipeline = 2},
                                    {.pipeline = 4},
                                    {.pipeline = 2, .chunks = 2},
                                    {.pipeline = 4, .chunks = 2},
                                    {},
                                    {.data = 2, .pipeline = 2, .zero = 0},
                                    {.data = 2, .pipeline = 2, .chunks = 4},
                                    {.data = 4, .pipeline = 2, .zero = 2},
                                    {.pipeline = 8},
                                    {.data = 4, .zero = 3},
                                    {.pipeline = 2}});
}

TEST_CASE("pipeline: a number that is none is found in the rank that has it, and named") {
  for (const int victim : {0, 1, 2}) {
    std::string all;
    for (const Ended& e : in_ranks(3, 60, [&](ProcessRanks& ranks) {
           Run run({}, {.pipeline = 3}, ranks);
           const std::string layer = cat("model.language_model.layers.", 2 * victim, ".");
           for (const auto& entry : run.model.parameters().entries())
             if (entry.parameter.name == layer + "input_layernorm.weight" && run.model.parameters().holds(entry))
               entry.parameter.value.fill(std::nan(""));
           run.engine.step();
         })) {
      CHECK(e.exit == 3);
      all += e.error;
    }
    CHECK_MESSAGE(contains(all, cat("step 1: not a finite number; first in the activation model.language_model.layers.",
                                    2 * victim, ".")),
                  all);
    CHECK_MESSAGE(contains(all, "of micro-batch 0"), all);
  }
}

TEST_CASE("pipeline: what a rank waits is said, and that a pipeline fills and empties in every round of ZeRO-2") {
  // 8 leaves: 4 for each copy, which are 4 forwards and backwards and one of each to wait for; or 4 times one.
  for (const auto& [zero, waits] : {std::pair{1, "a rank of a pipeline waits 20 % of a step"},
                                    {2, "a rank of a pipeline waits 50 % of a step; with parallel.zero 1 20 %"}})
    all_well(in_ranks(4, 60, [zero = zero, waits = waits](ProcessRanks& ranks) {
      const Run run({}, {.data = 2, .pipeline = 2, .zero = zero}, ranks);
      const std::string mesh = run.engine.parallel().describe(8);
      if (!mesh.ends_with(waits)) input_error("expected '", waits, "' at the end of\n", mesh);
    }));
}

TEST_CASE("pipeline: a mesh that does not fit is refused by name") {
  const MeshWorld world;
  const auto refused = [&](int n, const Ways& ways, const std::function<void(TrainJob&)>& change = {}) {
    TrainJob job = world.job("refused");
    if (change) change(job);
    return refused_by_ranks(n, ways, job);
  };
  CHECK(contains(refused(3, {.pipeline = 2}), "parallel.pipeline 2: does not divide 3 ranks"));
  CHECK(
      contains(refused(2, {.pipeline = 2, .overlap = true}), "comm.overlap true with parallel.pipeline 2: not built"));
  CHECK(contains(refused(2, {.pipeline = 2, .tensor = 2}), "parallel.tensor 2 x parallel.pipeline 2: does not divide"));
  CHECK(contains(refused(2, {.pipeline = 2, .chunks = 6}), "12 chunks in all, and the model has 8 layers"));
  CHECK(contains(refused(2, {.pipeline = 2}, [](TrainJob& j) { j.lora.rank = 2, j.lora.targets = {"q_proj"}; }),
                 "lora.rank 2 with parallel.pipeline 2"));
}
