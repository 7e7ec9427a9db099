// Expert parallelism against one rank: bits, whatever the routers say; bytes; what a rank holds; checkpoints.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "parallel/bytes.h"
#include "parallel/expert.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  Dtype dtype = Dtype::f32;
  bool tree = true, recompute = false, aux_global = false;
  std::int64_t leaves = 5;
  bool all_to_first = false;  // every router likes all experts alike: the first are chosen
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
};

ModelConfig model_of() {
  ModelConfig m = small_config();
  m.text.vocabulary = 100, m.text.layers = 4, m.text.router_aux_loss_coef = 0.01;
  m.text.experts = 8, m.text.experts_per_token = 2, m.text.expert_intermediate = 24, m.text.mlp_only_layers = {2};
  return m;
}

bool is_expert(const std::string& name) { return name.find(".experts.") != name.npos; }

struct Run {
  Mesh mesh;
  Onevision model;
  FixedSteps data;
  LanguageObjective objective;
  StepEngine engine;

  Run(const Case& c, const Ways& ways, Communicator& ranks, std::int64_t checksums = 1)
      : mesh(ranks, ways.tensor, ways.pipeline, ways.context, ways.experts),
        model(model_of(), mesh.tensor, mesh.pipe, ways.chunks, mesh.experts),
        data({uneven_step(c.leaves)}),
        objective(allocated(c), data, options(c, ways, checksums)),
        engine(objective, options(c, ways, checksums), mesh.data) {}

  Onevision& allocated(const Case& c) {
    model.parameters().allocate(c.dtype, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2}, 1);
    for (const auto& e : model.parameters().entries())
      if (c.all_to_first && e.parameter.name.ends_with(".mlp.gate.weight")) e.parameter.value.zero();
    model.recompute_blocks = c.recompute;
    return model;
  }
  static TrainOptions options(const Case& c, const Ways& ways, std::int64_t checksums) {
    TrainOptions o = short_run(4);
    o.optimizer.clip_grad = 0.1;
    o.modules = c.modules, o.tree = c.tree, o.aux_global = c.aux_global, o.checksum_every = checksums;
    ways.set(o);
    return o;
  }
};

// What n steps report. A frozen model's products are left out: a rank without a picture goes backward with the others.
std::string said(Run& run, const Case& c, int n) {
  if (c.modules.size() > 1) return steps_of(run.engine, n);
  std::string all;
  for (int i = 0; i < n; ++i) {
    const StepReport r = run.engine.step();
    all += cat(std::bit_cast<std::uint64_t>(r.loss), " ", std::bit_cast<std::uint64_t>(r.gradient_norm), " ",
               r.parts.dump(), " ", r.checksums->gradients, " ", r.checksums->parameters, "\n");
  }
  return all;
}

std::int64_t total(Communicator& ranks, std::int64_t own) {
  const Tensor t = Tensor::of(std::vector<std::int64_t>{own}, {1});
  ranks.all_reduce(t);
  return t.data<std::int64_t>()[0];
}

// Rows of leaf i that chose an expert that its rank of n does not hold, over all leaves and layers.
std::int64_t rows_elsewhere(const Run& one, std::int64_t n) {
  const GlobalStep step = uneven_step(4);
  const std::int64_t E = one.model.config().text.experts;
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < step.micro_batches.size(); ++i) {
    if (step.micro_batches[i].tokens() == 0) continue;
    const OnevisionInputs in = model_inputs(step.micro_batches[i], Dtype::f32, cpu());
    Routers routers;
    one.model.hidden(nullptr, in, one.model.encode_images(nullptr, in), nullptr, &routers);
    for (const Tensor& offsets : routers.offsets) {
      const auto at = offsets.to_vector<std::int64_t>();
      for (std::int64_t e = 0; e < E; ++e)
        if (e * n / E != static_cast<std::int64_t>(i) % n)
          rows += at[static_cast<std::size_t>(e) + 1] - at[static_cast<std::size_t>(e)];
    }
  }
  return rows;
}

const Strings mixture = {"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "32"};

TrainJob job_of(const MeshWorld& world, const std::string& out) {
  TrainJob job = world.job(out);
  job.data.micro_batches_per_step = 6, job.save_every = 10, job.keep = 9;
  return job;
}

}  // namespace

TEST_CASE("expert parallel: every freeze set, type and choice of experts gives one rank's bits, step by step") {
  const std::vector<Ways> ways = {{.data = 2, .experts = 2},
                                  {.data = 4, .experts = 4},
                                  {.data = 4, .zero = 2, .experts = 2},
                                  {.data = 4, .zero = 0, .experts = 2},
                                  {.data = 8, .experts = 8},
                                  {.data = 8, .zero = 1, .experts = 2},
                                  {.data = 4, .zero = 3, .experts = 2}};
  const std::vector<Case> cases = {{},
                                   {.all_to_first = true},
                                   {.recompute = true},
                                   {.dtype = Dtype::bf16, .recompute = true, .leaves = 8},
                                   {.dtype = Dtype::f64, .leaves = 3},
                                   {.recompute = true, .modules = {"adapter"}},
                                   {.aux_global = true, .modules = {"language_model", "adapter"}},
                                   {.modules = {"adapter"}},
                                   {.modules = {"vision_model"}}};
  std::size_t next = 0;
  for (const Case& c : cases) {
    Run one(c, {}, one_rank());
    const std::string expected = said(one, c, 2);
    for (const std::size_t w : {next++ % ways.size(), next++ % ways.size()}) {
      INFO("case ", &c - cases.data(), ", ", ways[w].said());
      all_well(in_ranks(ways[w].ranks(), 60, [&](ProcessRanks& ranks) {
        Run run(c, ways[w], ranks);
        if (const std::string got = said(run, c, 2); got != expected) input_error("not as one rank:\n", got, expected);
        ranks.barrier();
      }));
    }
  }
}

// In f64, where another order of a few leaves' sum moves the norm by some 2^-53 of it; what is left out moves it by
// much more than 2^-40.
TEST_CASE("expert parallel: with train.grad_sum chain what is no expert is summed once, over all turns") {
  Case c{.dtype = Dtype::f64, .leaves = 7};
  Run one(c, {}, one_rank());
  const double expected = one.engine.step().gradient_norm;
  c.tree = false;
  for (const Ways& ways : {Ways{.data = 2, .zero = 0, .experts = 2},
                           {.data = 4, .experts = 4},
                           {.data = 8, .zero = 0, .experts = 4},
                           {.data = 4, .zero = 2, .experts = 2}})
    all_well(in_ranks(ways.ranks(), 60, [&](ProcessRanks& ranks) {
      Run run(c, ways, ranks);
      const double norm = run.engine.step().gradient_norm;
      if (!(std::abs(norm - expected) <= 0x1p-40 * expected))
        input_error(ways.said(), ": the norm is ", norm, ", expected ", expected);
    }));
}

TEST_CASE(
    "expert parallel: 20 steps of dp 4 (ep 2), resumed by ep 4, by ZeRO 3 and by one rank, are one rank's files") {
  const MeshWorld world(mixture);
  const TrainJob one = job_of(world, "one");
  quietly(one);
  TrainJob job = job_of(world, "other");
  in_mesh({.data = 4, .experts = 2}, job);
  CHECK(files_of(job) == files_of(one));
  cut(job);
  in_mesh({.data = 4, .experts = 4}, job);
  CHECK(files_of(job) == files_of(one));
  cut(job);
  in_mesh({.data = 4, .zero = 3, .experts = 2}, job);
  CHECK(files_of(job) == files_of(one));
  cut(job);
  quietly(job);
  CHECK(files_of(job) == files_of(one));
}

TEST_CASE("expert parallel: 20 steps of every mesh, of a mixture" * doctest::skip()) {
  const MeshWorld world(mixture);
  const TrainJob one = job_of(world, "one");
  quietly(one);
  const std::string expected = files_of(one);
  int folder = 0;
  for (const Ways& ways : std::vector<Ways>{{.data = 2, .experts = 2},
                                            {.data = 4, .experts = 4},
                                            {.data = 8, .experts = 8},
                                            {.data = 4, .zero = 0, .experts = 2},
                                            {.data = 8, .zero = 2, .experts = 2},
                                            {.data = 8, .experts = 4},
                                            {.data = 4, .zero = 3},
                                            {.data = 8, .zero = 3, .experts = 4}}) {
    const TrainJob job = job_of(world, cat("mesh", folder++));
    in_mesh(ways, job);
    CHECK_MESSAGE(files_of(job) == expected, ways.said());
  }
  // Of ranks that cut heads and widths, experts that are shared have the bits of those that are not.
  const TrainJob cut_alone = job_of(world, "tensor"), both = job_of(world, "both"), all = job_of(world, "all");
  in_mesh({.tensor = 2}, cut_alone);
  in_mesh({.data = 2, .tensor = 2, .experts = 2}, both);
  in_mesh({.data = 4, .tensor = 2, .zero = 3, .experts = 2}, all);
  CHECK(files_of(both) == files_of(cut_alone));
  CHECK(files_of(all) == files_of(cut_alone));
}

TEST_CASE("expert parallel: what its ranks send in a step, and what they hold, is what parallel/expert.h says") {
  for (const std::int64_t n : {2, 4})
    for (const auto& [tree, recompute] : {std::pair{true, false}, {true, true}, {false, false}}) {
      const Case c{.tree = tree, .recompute = recompute, .leaves = 4};
      const std::int64_t X = rows_elsewhere(Run(c, {}, one_rank()), n);
      REQUIRE(X > 0);
      const int ranks_count = static_cast<int>(n);
      all_well(in_ranks(ranks_count, 60, [&, tree = tree, again = recompute](ProcessRanks& ranks) {
        Run run(c, {.data = ranks_count, .experts = ranks_count}, ranks, 0);
        const Parameters& parameters = run.model.parameters();
        const std::int64_t start = run.mesh.experts.sent();
        run.engine.step();
        const std::int64_t sent = total(ranks, run.mesh.experts.sent() - start);
        std::int64_t S = 0, experts = 0;
        for (const auto& e : parameters.entries()) (is_expert(e.parameter.name) ? experts : S) += e.whole.numel();
        const auto& text = run.model.config().text;
        const std::int64_t B = WholeChunks(parameters, run.engine.parallel()).shared(),
                           expected = ExpertBytes{.ranks = n,
                                                  .turns = c.leaves / n,
                                                  .experts = text.experts,
                                                  .layers = text.layers - 1,
                                                  .chose = X,
                                                  .width = text.hidden,
                                                  .rest = S,
                                                  .trained = S + experts,
                                                  .shared = B,
                                                  .reports = 1 + run.objective.scalars(),
                                                  .tree = tree,
                                                  .recompute = again}
                                          .total();
        if (sent != expected) input_error("ep ", n, ": ", sent, " bytes, expected ", expected);
        if (B == 0) input_error("no chunk of the norm is shared: the case says nothing of those");
        if (run.mesh.data.sent() != 0) input_error("nobody else holds the same");
        const std::int64_t holds = S + experts / n;
        if (parameters.values().numel() != holds || run.engine.gradients().numel() != holds ||
            run.engine.optimizer().first_moment().numel() != holds)
          input_error("ep ", n, ": holds ", parameters.values().numel(), ", expected ", holds);
      }));
    }
}

TEST_CASE("expert parallel: a mesh says what each rank runs and holds, and one that does not fit is refused by name") {
  all_well(in_ranks(4, 60, [&](ProcessRanks& ranks) {
    Run run({}, {.data = 4, .experts = 2}, ranks);
    const std::string mesh = run.engine.parallel().describe(6);
    for (const char* line :
         {"mesh: dp 4 (ep 2)", "rank 0: 2 of 6 micro-batches, from 0 in steps of 2",
          "rank 1: 2 of 6 micro-batches, from 1", "rank 2: 1 of 6 micro-batches, from 4", "part 1 of 2 of the experts"})
      if (mesh.find(line) == mesh.npos) input_error("no '", line, "' in\n", mesh);
  }));
  // After every turn its ranks add to each other's gradients.
  std::string beside;
  for (const Ended& e :
       in_ranks(4, 60, [](ProcessRanks& ranks) { Run run({}, {.data = 4, .experts = 2, .overlap = true}, ranks); })) {
    CHECK(e.exit == 2);
    beside += e.error;
  }
  CHECK(contains(beside, "comm.overlap true with experts or class tables that ranks share: not built"));
  const auto refused = [](int n, const Ways& ways, const std::function<void(ModelConfig&)>& change = {}) {
    std::string all;
    for (const Ended& e : in_ranks(n, 60, [&](ProcessRanks& ranks) {
           Mesh mesh(ranks, ways.tensor, ways.pipeline, ways.context, ways.experts);
           ModelConfig config = model_of();
           if (change) change(config);
           Onevision model(config, mesh.tensor, mesh.pipe, 1, mesh.experts);
           model.parameters().adapt({.rank = 2, .targets = {"q_proj"}});
         })) {
      CHECK(e.exit == 2);
      all += e.error;
    }
    return all;
  };
  CHECK(contains(refused(3, {.experts = 2}), "parallel.experts 2: does not divide 3 ranks"));
  CHECK(contains(refused(3, {.experts = 3}), "parallel.experts 3: expected a power of two"));
  CHECK(contains(refused(4, {.pipeline = 2, .experts = 2}), "parallel.pipeline 2 x parallel.experts 2: not built"));
  CHECK(contains(refused(4, {.experts = 4}, [](ModelConfig& m) { m.text.experts = 6; }),
                 "parallel.experts 4: does not divide text.experts, which is 6"));
  CHECK(contains(refused(2, {.experts = 2}, [](ModelConfig& m) { m.text.experts = 0; }),
                 "parallel.experts 2: the model has no experts"));
  CHECK(contains(refused(2, {.experts = 2}), "lora.rank 2 with parallel.experts 2: not built"));
}
