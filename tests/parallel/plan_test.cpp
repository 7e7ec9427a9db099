// What plan counts for one rank of many: what a real rank holds and sends, and what the headers of src/parallel say.
#include <doctest/doctest.h>

#include <algorithm>

#include "audit/plan.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "comm/absent_ranks.h"
#include "model/region_head.h"
#include "parallel/bytes.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"
#include "tests/parallel/plan_compare.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Case {
  Ways ways;
  Dtype dtype = Dtype::f32;
  bool tied = true, experts = false, recompute = false, tree = true;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  std::string said() const {
    return cat(ways.said(), ", ", name_of(dtype), tied ? ", tied" : "", experts ? ", experts" : "",
               recompute ? ", recompute" : "", tree ? "" : ", chain", modules.size() == 1 ? ", " + modules[0] : "");
  }
};

constexpr std::int64_t leaves = 6;

PlanOptions options_of(const Case& c) {
  PlanOptions o;
  o.dtype = c.dtype, o.recompute = c.recompute;
  o.train = short_run(1);
  o.train.modules = c.modules, o.train.tree = c.tree, o.train.checksum_every = 0;
  c.ways.set(o.train);
  o.ranks = c.ways.ranks();
  o.rows = uneven_step(leaves, 7).micro_batches;
  return o;
}

// The step of a real rank, on a device of its own; input_error where plan says something else. What it has sent on each
// axis goes to a file of the rank.
void compare_with_plan(const Case& c, ProcessRanks& ranks, const std::string& counts) {
  PlanOptions options = options_of(c);
  options.rank = ranks.rank();
  HostDevice device(Device::Kind::cpu, "test", cpu().table);
  Mesh mesh(ranks, c.ways.tensor, c.ways.pipeline);
  Onevision model(six_layers(c.tied, c.experts), mesh.tensor, mesh.pipe, c.ways.chunks);
  model.recompute_blocks = c.recompute;
  model.parameters().allocate(c.dtype, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
  FixedSteps data({uneven_step(leaves, 7)});
  LanguageObjective objective(model, data, options.train);
  StepEngine engine(objective, options.train, mesh.data);
  // Plan tells what a step takes, not what was before values were divided.
  if (engine.parallel().divides_values()) device.reset_peaks();
  const std::int64_t before = all_sent(mesh.data);
  engine.step();

  const std::map<std::string, std::int64_t> sent = {
      {"data", all_sent(mesh.data) - before}, {"pipe", mesh.pipe.sent()}, {"tensor", mesh.tensor.sent()}};
  compare_plan(c.said(), ranks, plan_model(six_layers(c.tied, c.experts), options), device, engine, sent);
  Json counted = Json::object();
  for (const auto& [axis, bytes] : sent) counted.set(axis, bytes);
  write_durably(cat(counts, ranks.rank()), counted.dump());
}

const std::vector<Case> cases = {{.ways = {.data = 2, .zero = 0}},
                                 {.ways = {.data = 4, .zero = 1}, .dtype = Dtype::bf16, .recompute = true},
                                 {.ways = {.data = 2, .zero = 2}, .experts = true},
                                 {.ways = {.data = 2, .zero = 0, .overlap = true}},
                                 {.ways = {.data = 4, .zero = 1, .overlap = true}, .dtype = Dtype::bf16},
                                 {.ways = {.data = 3, .zero = 1, .overlap = true}, .tree = false},
                                 {.ways = {.data = 2, .zero = 2, .overlap = true}, .experts = true, .recompute = true},
                                 {.ways = {.data = 2, .tensor = 2, .zero = 3, .overlap = true}},
                                 {.ways = {.data = 2, .zero = 3}},
                                 {.ways = {.data = 4, .zero = 3}, .dtype = Dtype::bf16, .recompute = true},
                                 {.ways = {.data = 2, .tensor = 2, .zero = 3}, .experts = true},
                                 {.ways = {.data = 3, .zero = 1}, .tree = false, .modules = {"adapter"}},
                                 {.ways = {.pipeline = 2}},
                                 {.ways = {.pipeline = 3, .chunks = 2}, .dtype = Dtype::bf16, .tied = false},
                                 {.ways = {.pipeline = 2}, .experts = true, .recompute = true},
                                 {.ways = {.tensor = 2}},
                                 {.ways = {.tensor = 2}, .dtype = Dtype::bf16, .tied = false, .recompute = true},
                                 {.ways = {.data = 2, .pipeline = 2, .zero = 0}},
                                 {.ways = {.data = 2, .pipeline = 2, .zero = 2}, .tied = false},
                                 {.ways = {.data = 2, .tensor = 2}, .experts = true},
                                 {.ways = {.pipeline = 2, .tensor = 2}, .dtype = Dtype::bf16},
                                 {.ways = {.data = 2, .pipeline = 2, .tensor = 2}}};

}  // namespace

// Prints formula, plan and count side by side; of ranks that share rows, experts or class tables plan_sharing_test.cpp
// does: build/unit-tests -tc='plan of*'
TEST_CASE(
    "plan of a mesh: every rank's memory by segment, bytes on every axis and products are a real rank's, exactly, and "
    "the bytes of all ranks together are what the headers of src/parallel say") {
  const ScratchDirectory dir;
  int axes = 0;
  std::printf("bytes that leave the ranks of an axis in a step: formula, plan, real ranks\n");
  for (const Case& c : cases) {
    INFO(c.said());
    const Ways& w = c.ways;
    const std::string counts = dir / cat("case", &c - cases.data(), ".");
    all_well(in_ranks(w.ranks(), 60, [&](ProcessRanks& ranks) {
      compare_with_plan(c, ranks, counts);
      ranks.barrier();
    }));
    std::vector<Plan> ranks;
    std::vector<Json> counted;
    PlanOptions options = options_of(c);
    for (options.rank = 0; options.rank < w.ranks(); ++options.rank) {
      ranks.push_back(plan_model(six_layers(c.tied, c.experts), options));
      counted.push_back(Json::read(cat(counts, options.rank)));
    }
    const auto rank_of = [&](int d, int s, int i) {
      return static_cast<std::size_t>((d * w.pipeline + s) * w.tensor + i);
    };
    const auto at = [&](int d, int s, int i) -> const Plan& { return ranks[rank_of(d, s, i)]; };
    const auto check = [&](const char* axis, std::int64_t formula, const std::vector<std::size_t>& together) {
      std::int64_t planned = 0, real = 0;
      for (const std::size_t r : together) planned += sent_on(ranks[r], axis), real += counted[r].at(axis).as_int();
      CHECK(planned == formula);
      CHECK(real == formula);
      print_bytes(c.said(), axis, formula, planned, real);
      ++axes;
    };
    const ModelConfig model = six_layers(c.tied, c.experts);
    const GlobalStep step = uneven_step(leaves, 7);
    const StepTargets targets = loss_targets(step, NormaliseBy::global_token_mean);
    const bool whole = c.modules.size() == 3, experts = c.experts;
    std::int64_t moe = 0, scalars = 0;
    for (std::int64_t l = 0; l < model.text.layers; ++l) moe += model.text.is_moe(l);
    const std::int64_t aux = !experts ? 0 : w.pipeline > 1 ? moe : 1, value = c.dtype == Dtype::bf16 ? 2 : 4;
    for (const LossTargets& t : targets.micro_batches) scalars += 1 + aux + static_cast<std::int64_t>(t.rows.size());

    // What ZeRO 3 gathers, as parallel/zero3.h says, where everything is trained.
    std::int64_t gathered = 0;
    if (w.zero == 3) {
      AbsentRanks of_tensor(0, w.tensor, [](Call, const Parts&, const Parts&, bool) {});
      const Onevision held(model, of_tensor, one_rank(), 1);
      const std::int64_t rounds = (leaves + w.data - 1) / w.data;
      std::vector<std::int64_t> blocks(static_cast<std::size_t>(held.parameters().blocks()));
      for (const auto& e : held.parameters().entries()) {
        if (e.block >= 0) blocks[static_cast<std::size_t>(e.block)] += e.shape.numel();
        gathered += (e.block >= 0 ? 2 * rounds : 1) * e.shape.numel();
      }
      gathered -= rounds * blocks.back() + (rounds - 1) * blocks.front();
    }
    for (int s = 0; s < w.pipeline && w.data > 1; ++s)
      for (int i = 0; i < w.tensor; ++i) {
        std::int64_t all = 0;
        std::vector<std::size_t> together;
        for (int d = 0; d < w.data; ++d) together.push_back(rank_of(d, s, i));
        for (int k = 0; k < w.pipeline; ++k) all += at(0, k, i).held_trained;
        check("data",
              DataBytes{.ranks = w.data,
                        .leaves = leaves,
                        .trained = at(0, s, i).held_trained,
                        .value = value,
                        .zero = w.zero,
                        .bucket = w.overlap ? options.train.bucket : 0,
                        .gathered = gathered,
                        .reports = 1 + scalars,
                        .whole_trained = w.pipeline > 1 ? all : 0,
                        .shared = at(0, s, i).shared_chunks}
                  .total(),
              together);
      }
    // What a copy of the model runs.
    for (int d = 0; d < w.data; ++d) {
      std::int64_t full = 0, tokens = 0, patches = 0, labelled = 0;
      const bool in_rounds = w.zero >= 2 && w.data > 1;
      const std::int64_t block = w.data == 1 ? leaves : w.data == 2 ? 4 : 2;
      for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
        if ((in_rounds ? leaf % w.data : leaf / block) != d) continue;
        const MicroBatch& b = step.micro_batches[static_cast<std::size_t>(leaf)];
        full += b.tokens() > 0, tokens += b.tokens();
        patches += b.pixel_values ? b.pixel_values.dim(0) + static_cast<std::int64_t>(b.grids.size()) : 0;
        labelled += static_cast<std::int64_t>(targets.micro_batches[static_cast<std::size_t>(leaf)].rows.size());
      }
      if (w.pipeline > 1 && w.tensor == 1) {
        std::int64_t all = 0;
        std::vector<std::size_t> together;
        for (int s = 0; s < w.pipeline; ++s) together.push_back(rank_of(d, s, 0)), all += at(d, s, 0).held_trained;
        check("pipe",
              PipelineBytes{.ranks = w.pipeline,
                            .chunks = w.pipeline * w.chunks,
                            .leaves = full,
                            .tokens = tokens,
                            .width = model.text.hidden,
                            .vocabulary = model.text.vocabulary,
                            .experts = experts ? model.text.experts : 0,
                            .value = value,
                            .tied = c.tied,
                            .trained = all,
                            .shared = at(d, 0, 0).shared_chunks,
                            .reports = 1 + scalars}
                  .total(),
              together);
      }
      if (w.tensor > 1 && w.pipeline == 1 && whole) {
        std::vector<std::size_t> together;
        for (int i = 0; i < w.tensor; ++i) together.push_back(rank_of(d, 0, i));
        check("tensor",
              TensorBytes{.ranks = w.tensor,
                          .leaves = full,
                          .tokens = tokens,
                          .patches = patches,
                          .labelled = labelled,
                          .layers = model.text.layers,
                          .width = model.text.hidden,
                          .blocks = model.vision.depth,
                          .tower_width = model.vision.hidden,
                          .value = value,
                          .recompute = c.recompute,
                          .uncut = at(d, 0, 0).uncut,
                          .held = at(d, 0, 0).held_trained}
                  .total(),
              together);
      }
    }
  }
  CHECK(axes > 10);
}

TEST_CASE("plan of a mesh: RICE on many devices, each with a copy") {
  const Config config = Config::parse(
      cli::keys(), "plan", {"--what", "vision", "--config", "configs/model/tiny.json", "--plan.classes", "10"});
  RegionPlan rice{.vision = cli::described_vision(config), .head = cli::region_head(config)};
  rice.head.classes = 1000;
  const auto plan_of = [&](int ranks, int rank) {
    PlanOptions o{.grids = {{1, 8, 8}}, .micro_batches = 8, .train = {}, .ranks = ranks, .rank = rank};
    return plan_region(rice, o);
  };
  const Plan one = plan_of(1, 0);
  CHECK(one.traffic.empty());
  CHECK(one.updated == one.trained);
  double flops = 0;
  std::int64_t sent = 0, received = 0;
  for (int r = 0; r < 4; ++r) {
    const Plan p = plan_of(4, r);
    CHECK(p.trained == one.trained);
    CHECK(std::abs(p.updated - one.trained / 4) <= 4096);
    CHECK(p.rounds == std::vector<std::int64_t>{2});
    flops += p.forward_flops + p.backward_flops;
    sent += sent_on(p, "data");
    for (const char* what : {"data sums", "data values"})
      for (const auto& [peer, bytes] : p.traffic.at(what).received) received += bytes;
  }
  CHECK(flops == one.forward_flops + one.backward_flops);
  CHECK(sent == received);
  const std::int64_t without_report = DataBytes{.ranks = 4, .leaves = 8, .trained = one.trained}.total();
  CHECK(sent > without_report);
  CHECK((sent - without_report) % report_bytes(4, 1) == 0);
}
