// What plan says of one rank of many, and what real ranks hold and send; its formulas, tables and times.
#include "audit/plan_mesh.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "base/io/file.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "model/region_head.h"
#include "parallel/bytes.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"

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

ModelConfig model_of(const Case& c) {
  ModelConfig m = small_config();
  m.vision.heads = 4, m.text.vocabulary = 100;
  m.text.layers = 6, m.text.heads = 4, m.text.kv_heads = 2, m.text.tied = c.tied;
  if (c.experts)
    m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24, m.text.mlp_only_layers = {2};
  return m;
}

// Rows with a picture and without, one without labels, one without tokens.
GlobalStep step_of(std::int64_t leaves) {
  std::vector<MicroBatch> rows(static_cast<std::size_t>(leaves));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 1) continue;
    add_sample(rows[i], i + 1, i % 2 ? 0 : 2, 2, 7 + static_cast<std::int64_t>(i));
    if (i == 2) std::fill(rows[i].labels.begin(), rows[i].labels.end(), ignored_label);
  }
  return as_step(rows);
}

constexpr std::int64_t leaves = 6;

PlanOptions options_of(const Case& c) {
  PlanOptions o;
  o.dtype = c.dtype, o.recompute = c.recompute;
  o.train = short_run(1);
  o.train.modules = c.modules, o.train.tree = c.tree, o.train.checksum_every = 0;
  c.ways.set(o.train);
  o.ranks = c.ways.ranks();
  o.rows = step_of(leaves).micro_batches;
  return o;
}

std::int64_t sent_on(const Plan& plan, const char* axis) {
  const auto found = plan.traffic.find(axis);
  return found == plan.traffic.end() ? 0 : found->second.bytes();
}

// The step of a real rank, on a device of its own; input_error where plan says something else.
void compare_with_plan(const Case& c, ProcessRanks& ranks) {
  PlanOptions options = options_of(c);
  options.rank = ranks.rank();
  HostDevice device(Device::Kind::cpu, "test", cpu().table);
  Mesh mesh(ranks, c.ways.tensor, c.ways.pipeline);
  Onevision model(model_of(c), mesh.tensor, mesh.pipe, c.ways.chunks);
  model.recompute_blocks = c.recompute;
  model.parameters().allocate(c.dtype, device);
  initialize(model.parameters(), {.matrix = "uniform_fan_in"}, 1);
  FixedSteps data({step_of(leaves)});
  LanguageObjective objective(model, data, options.train);
  StepEngine engine(objective, options.train, mesh.data);
  engine.step();

  const Plan plan = plan_model(model_of(c), options);
  const auto equal = [&](const std::string& what, std::int64_t planned, std::int64_t real) {
    if (planned != real)
      input_error(c.said(), ", rank ", ranks.rank(), ", ", what, ": plan ", planned, ", real ", real);
  };
  const MemoryUse memory = device.memory();
  for (std::size_t s = 0; s < segment_count; ++s)
    equal(name_of(static_cast<Segment>(s)), plan.memory.peak[s], memory.peak[s]);
  equal("all at once", plan.memory.total_peak, memory.total_peak);
  equal("data", sent_on(plan, "data"), mesh.data.sent());
  equal("pipe", sent_on(plan, "pipe"), mesh.pipe.sent());
  equal("tensor", sent_on(plan, "tensor"), mesh.tensor.sent());
  equal("multiply-adds", static_cast<std::int64_t>(plan.forward_flops + plan.backward_flops),
        2 * (engine.products().forward + engine.products().backward));
}

const std::vector<Case> cases = {{.ways = {.data = 2, .zero = 0}},
                                 {.ways = {.data = 4, .zero = 1}, .dtype = Dtype::bf16, .recompute = true},
                                 {.ways = {.data = 2, .zero = 2}, .experts = true},
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

TEST_CASE(
    "plan of a mesh: every rank's memory by segment, bytes on every axis and products are a real rank's, exactly") {
  for (const Case& c : cases)
    for (const Ended& e : in_ranks(c.ways.ranks(), 60, [&](ProcessRanks& ranks) {
           compare_with_plan(c, ranks);
           ranks.barrier();
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("plan of a mesh: what all ranks send together is what the headers of src/parallel say") {
  int axes = 0;
  for (const Case& c : cases) {
    INFO(c.said());
    const Ways& w = c.ways;
    std::vector<Plan> ranks;
    PlanOptions options = options_of(c);
    for (options.rank = 0; options.rank < w.ranks(); ++options.rank) ranks.push_back(plan_model(model_of(c), options));
    const auto at = [&](int d, int s, int i) -> const Plan& {
      return ranks[static_cast<std::size_t>((d * w.pipeline + s) * w.tensor + i)];
    };
    const ModelConfig model = model_of(c);
    const GlobalStep step = step_of(leaves);
    const StepTargets targets = loss_targets(step, NormaliseBy::global_token_mean);
    const bool whole = c.modules.size() == 3, experts = c.experts;
    std::int64_t moe = 0, scalars = 0;
    for (std::int64_t l = 0; l < model.text.layers; ++l) moe += model.text.is_moe(l);
    const std::int64_t aux = !experts ? 0 : w.pipeline > 1 ? moe : 1, value = c.dtype == Dtype::bf16 ? 2 : 4;
    for (const LossTargets& t : targets.micro_batches) scalars += 1 + aux + static_cast<std::int64_t>(t.rows.size());

    for (int s = 0; s < w.pipeline && w.data > 1; ++s)
      for (int i = 0; i < w.tensor; ++i) {
        std::int64_t sent = 0, all = 0;
        for (int d = 0; d < w.data; ++d) sent += sent_on(at(d, s, i), "data");
        for (int k = 0; k < w.pipeline; ++k) all += at(0, k, i).held_trained;
        CHECK(sent == DataBytes{.ranks = w.data,
                                .leaves = leaves,
                                .trained = at(0, s, i).held_trained,
                                .value = value,
                                .zero = w.zero,
                                .reports = 1 + scalars,
                                .whole_trained = w.pipeline > 1 ? all : 0,
                                .shared = at(0, s, i).shared_chunks}
                          .total());
        ++axes;
      }
    // What a copy of the model runs.
    for (int d = 0; d < w.data; ++d) {
      std::int64_t full = 0, tokens = 0, patches = 0, labelled = 0;
      const bool in_rounds = w.zero == 2 && w.data > 1;
      const std::int64_t block = w.data == 1 ? leaves : w.data == 2 ? 4 : 2;
      for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
        if ((in_rounds ? leaf % w.data : leaf / block) != d) continue;
        const MicroBatch& b = step.micro_batches[static_cast<std::size_t>(leaf)];
        full += b.tokens() > 0, tokens += b.tokens();
        patches += b.pixel_values ? b.pixel_values.dim(0) + static_cast<std::int64_t>(b.grids.size()) : 0;
        labelled += static_cast<std::int64_t>(targets.micro_batches[static_cast<std::size_t>(leaf)].rows.size());
      }
      if (w.pipeline > 1 && w.tensor == 1) {
        std::int64_t sent = 0, all = 0;
        for (int s = 0; s < w.pipeline; ++s) sent += sent_on(at(d, s, 0), "pipe"), all += at(d, s, 0).held_trained;
        CHECK(sent == PipelineBytes{.ranks = w.pipeline,
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
                          .total());
        ++axes;
      }
      if (w.tensor > 1 && w.pipeline == 1 && whole) {
        std::int64_t sent = 0;
        for (int i = 0; i < w.tensor; ++i) sent += sent_on(at(d, 0, i), "tensor");
        CHECK(sent == TensorBytes{.ranks = w.tensor,
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
                          .total());
        ++axes;
      }
    }
  }
  CHECK(axes > 10);
}

TEST_CASE(
    "plan of a mesh: a pipeline's time is its timetable's, each step begun when its rank is free and its input is "
    "there") {
  for (const int p : {1, 2, 4, 8})
    for (const int v : {1, 2, 3})
      for (const std::int64_t L : {1, 4, 8, 24}) {
        INFO("p ", p, ", v ", v, ", L ", L);
        const std::vector<double> one(static_cast<std::size_t>(p), 1.0);
        const double time = makespan(one, one, v, L, 0);
        CHECK(time <= static_cast<double>(timetable(p, v, L).size()));
        if (v == 1 || L % p == 0) CHECK(time == static_cast<double>(2 * (v * L + p - 1)));
        // A stage that takes longer is what the others wait for; a message is waited for by those that need it.
        std::vector<double> slow = one;
        slow[0] = 3;
        CHECK(makespan(slow, one, v, L, 0) >= static_cast<double>(4 * v * L));
        CHECK(makespan(one, one, 1, 1, 0.5) == static_cast<double>(2 * p) + (p > 1 ? static_cast<double>(p - 1) : 0.0));
      }
  CHECK(makespan({1.0, 1.0}, {2.0, 2.0}, 1, 0, 0) == 0);
}

TEST_CASE("plan of a mesh: seconds of calls, by the slower of two links") {
  const MeshFacts mesh{.node = 4, .inside = {"i", "inside", 100, 0.5}, .between = {"b", "between", 10, 2}, .mfu = 0.5};
  const Plan::Traffic near{.calls = 3, .sent = {{1, 50}, {2, 150}}, .received = {{1, 400}}};
  CHECK(seconds_of(near, 0, mesh) == 3 * 0.5 + 4.0);
  const Plan::Traffic far{.calls = 1, .sent = {{5, 100}, {6, 300}}, .received = {{5, 10}, {7, 10}}};
  CHECK(seconds_of(far, 4, mesh) == 0.5 + 4.0);
  CHECK(seconds_of(far, 0, mesh) == 2 + 40.0);
  CHECK(by_link(far.sent, 3, 4).between == 400);
  CHECK(by_link(far.sent, 3, 0).inside == 400);
  CHECK(seconds_of({}, 0, mesh) == 0);
  // Two neighbours and four others, of whom each neighbour answers for half.
  const Plan::Traffic all{.calls = 1, .sent = {{1, 10}, {4, 10}, {5, 10}, {8, 10}, {9, 10}}, .received = {}};
  CHECK(machines_first(all, 0, 4).between == 25);
  CHECK(seconds_machines_first(all, 0, mesh) == 2 + 2.5);
  CHECK(seconds_machines_first(near, 0, mesh) == seconds_of(near, 0, mesh));
}

namespace {

MeshPlan planned(const Strings& arguments, const std::string& device_name) {
  const Config config = Config::parse(cli::keys(), "plan", arguments);
  ModelConfig model;
  model.vision = cli::described_vision(config), model.text = cli::described_text(config);
  const DeviceFacts device = find_device("configs/devices.json", device_name);
  const MeshFacts mesh{.node = device.node,
                       .inside = find_link("configs/links.json", device.inside),
                       .between = find_link("configs/links.json", device.between),
                       .mfu = device.mfu};
  return plan_on_mesh(
      device, mesh, [&](const PlanOptions& o) { return plan_model(model, o); },
      cli::plan_options(config, model.vision));
}

}  // namespace

TEST_CASE("plan of a mesh: every stage of the recipe on 8 to 1024 devices") {
  int stages = 0;
  for (const auto& file : std::filesystem::directory_iterator("configs/recipe")) {
    const std::string stage = file.path(), size = file.path().stem().string().substr(0, 2);
    if (size != "4b" && size != "8b") continue;
    ++stages;
    double last = 0;
    std::int64_t state = INT64_MAX;
    for (const int n : {8, 32, 128, 1024}) {
      CAPTURE(stage);
      CAPTURE(n);
      const MeshPlan m = planned({"--config", "configs/model/" + size + ".json", stage, "--train.micro_batches",
                                  std::to_string(2 * n), "--plan.ranks", std::to_string(n)},
                                 "h100");
      const Plan& p = m.stages.at(0);
      CHECK(m.stages.size() == 1);
      CHECK(std::accumulate(p.rounds.begin(), p.rounds.end(), std::int64_t{0}) == 2);
      const std::int64_t own = p.memory.peak[static_cast<std::size_t>(Segment::optimizer)];
      CHECK(own < state);
      CHECK(std::abs(p.updated - p.trained / n) <= 4096);
      // The same passes on each, and more to say the more there are.
      const double rate = m.mesh.mfu * m.device.peak.at("bf16");
      CHECK(m.time.leaves == doctest::Approx((p.forward_flops + p.backward_flops + p.recomputed_flops) / rate));
      CHECK(m.time.data > last);
      CHECK(m.time.busy == doctest::Approx(m.time.leaves));
      CHECK(m.mfu() < m.mesh.mfu);
      last = m.time.data, state = own;
      CHECK(m.report().find(cat("on ", n, " x NVIDIA H100")) == 0);
    }
  }
  CHECK(stages >= 6);
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
    for (const auto& [peer, bytes] : p.traffic.at("data").received) received += bytes;
  }
  CHECK(flops == one.forward_flops + one.backward_flops);
  CHECK(sent == received);
  const std::int64_t without_report = DataBytes{.ranks = 4, .leaves = 8, .trained = one.trained}.total();
  CHECK(sent > without_report);
  CHECK((sent - without_report) % report_bytes(4, 1) == 0);
}

TEST_CASE("plan of a mesh: axes are divided as they are asked for, and the report says what waits for what") {
  const MeshPlan m = planned(
      {"--config", "configs/model/mesh.json", "--plan.images", "1", "--plan.width", "112", "--plan.height", "112",
       "--train.micro_batches", "16", "--plan.ranks", "16", "--parallel.pipeline", "4", "--parallel.tensor", "2"},
      "a800");
  REQUIRE(m.stages.size() == 4);
  CHECK(m.stages[0].rounds == std::vector<std::int64_t>{8});
  CHECK(m.time.leaves > m.time.busy);
  CHECK(m.time.tensor > 0);
  CHECK(m.time.busy > m.time.tensor);
  const std::string report = m.report();
  CHECK(report.find("dp 2 x pp 4 x tp 2, zero 1; 8 a machine") != report.npos);
  CHECK(report.find("(p - 1) / (v L + p - 1) is 27.3 %") != report.npos);  // 3 / 11
  CHECK(report.find("layers") != report.npos);
  std::int64_t held = 0;
  for (const Plan& s : m.stages) held += s.held;
  CHECK(held > m.stages[0].parameters / 2);  // and what is not cut twice
  CHECK(held < m.stages[0].parameters);
}

TEST_CASE("plan of a mesh: the published run of stage 1.5, and what its step was made of") {
  const Strings arguments = {"--config", "configs/model/8b.json", "configs/recipe/8b-midtrain.json",
                             "configs/plan/8b-midtrain-published.json"};
  const Config config = Config::parse(cli::keys(), "plan", arguments);
  CHECK(config.number("plan.days") == 3.7);
  CHECK(config.integer("train.steps") == 70000);
  const MeshPlan m = planned(arguments, config.text("plan.device"));
  CHECK(m.stages[0].tokens == 8192);
  CHECK(m.options.ranks == 128);
  // 46.1 GFLOP a token of the decoder with segments of 756, by the published formula, and the tower's.
  const double a_token = (m.stages[0].forward_flops + m.stages[0].backward_flops) / 8192;
  CHECK(a_token > 46.1e9);
  CHECK(a_token < 56e9);
  const std::string beside = m.beside(3.7, 70000);
  CHECK(beside.find("that run                              4.567") != beside.npos);
  CHECK(beside.find("12.5 % have no micro-batch") != beside.npos);
  // The parts add up to the published step.
  double sum = 0, theirs = 0;
  std::istringstream lines(beside);
  for (std::string line; std::getline(lines, line);)
    for (const char* part : {"products at", "what is recomputed", "waiting", "calls between", "update", "the rest"})
      if (line.starts_with(std::string("  ") + part)) sum += std::stod(line.substr(36));
  theirs = 3.7 * 86400 / 70000;
  CHECK(sum == doctest::Approx(theirs).epsilon(0.002));
  // A faster run than the plan's own rates allow is said to be one.
  CHECK(m.beside(0.5, 70000).find("faster than this plan allows") != std::string::npos);
}

TEST_CASE("plan of a mesh: tables and meshes with a fault are named") {
  const ScratchDirectory dir;
  const std::string path = dir / "links.json";
  const auto says = [&](const std::string& row, const std::string& name = "wire") -> std::string {
    write_durably(path, "{\"wire\": {" + row + "}}");
    try {
      find_link(path, name);
    } catch (const Error& e) { return e.what(); }
    return "";
  };
  const std::string good = R"("about": "a wire", "gb_s": 2, "latency_us": 5)";
  CHECK(says(good) == "");
  CHECK(find_link(path, "wire").rate == 2e9);
  CHECK(says(R"("gb_s": 2, "latency_us": 5)") == path + ": wire: about: missing; say which link it is");
  CHECK(says(R"("about": "a", "gb_s": 0, "latency_us": 5)") == path + ": wire: gb_s is 0, expected more than 0");
  CHECK(says(R"("about": "a", "gb_s": 1)") == path + ": wire: latency_us is missing");
  CHECK(says(good + R"(, "gbs": 3)").find("gbs") != std::string::npos);
  CHECK(says(good, "wires") == "plan.inside, plan.between: " + path + " has no wires; it has wire");
  for (const LinkFacts& l : {find_link("configs/links.json", "memory")}) CHECK(l.rate > 1e8);

  const auto refused = [](const Strings& more) {
    Strings arguments = {"--config", "configs/model/mesh.json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return thrown([&] { cli::plan(Config::parse(cli::keys(), "plan", arguments)); }, Exit::wrong_input);
  };
  CHECK(contains(refused({"--plan.ranks", "6", "--plan.device", "h100", "--parallel.pipeline", "4"}),
                 "parallel.pipeline 4: does not divide 6 ranks"));
  CHECK(contains(refused({"--plan.ranks", "2"}), "plan.device"));
  CHECK(contains(refused({"--plan.ranks", "2", "--plan.device", "cpu"}), "plan.mfu"));
  CHECK(contains(refused({"--plan.ranks", "2", "--plan.device", "h100", "--plan.between", "hdr-200"}), "plan.between"));
  CHECK(contains(refused({"--plan.links", "x"}), "plan.links"));
  CHECK(contains(refused({"--plan.segments", "5000"}), "5000 segments of 512 tokens"));
}
