// A planned step on many devices: its times, its tables, every stage of the recipe, the published run.
#include "audit/plan_mesh.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>
#include <sstream>

#include "base/io/file.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "parallel/pipeline.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

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

TEST_CASE(
    "plan of a mesh: sums beside the backward pass cost no more time than it leaves; what is gathered is not hidden") {
  const auto with = [](Strings more) {
    Strings all = {"--config", "configs/model/4b.json", "--dtype", "bf16", "--train.micro_batches",
                   "16",       "--plan.ranks",          "8"};
    all.insert(all.end(), more.begin(), more.end());
    return planned(all, "h100");
  };
  const MeshPlan off = with({"--comm.overlap", "false"});
  CHECK(off.stages[0].traffic.count("data beside") == 0);
  CHECK(off.stages[0].buckets == 0);
  CHECK(off.time.hidden == 0);
  CHECK(off.time.could_hide > 0);
  CHECK(contains(off.report(), "  not hidden; comm.overlap would hide up to "));
  for (const int zero : {0, 1, 2}) {
    INFO("zero ", zero);
    const MeshPlan on =  // auto: a GPU
        with({"--parallel.zero", std::to_string(zero), "--plan.images", "0", "--plan.text_tokens", "8000"});
    const auto seconds = [&](const char* what) {
      const auto found = on.stages[0].traffic.find(what);
      return found == on.stages[0].traffic.end() ? 0 : seconds_of(found->second, 0, on.mesh);
    };
    const double beside = seconds("data beside"), B = static_cast<double>(on.stages[0].buckets);
    CHECK(on.stages[0].buckets == (on.stages[0].held_trained + (16 << 20) - 1) / (16 << 20));  // of 64 MB
    CHECK(on.time.hidden == doctest::Approx(beside * (1 - 1 / B)));                            // its passes last longer
    CHECK(on.time.data == doctest::Approx(seconds("data sums") + seconds("data values") + beside / B));
    CHECK(on.time.could_hide == 0);
    CHECK(contains(on.report(), " more, sums of gradients, go on beside backward"));
  }
  // A pass that is shorter than the sums hides as much as it lasts.
  const MeshPlan far = with({"--plan.images", "0", "--plan.text_tokens", "1"});
  CHECK(with({}).time.step() < off.time.step());
  const double pass = (far.stages[0].backward_flops / 2) / (far.mesh.mfu * far.device.peak.at("bf16"));
  CHECK(far.time.hidden == doctest::Approx(pass));
  const MeshPlan stages = with({"--parallel.pipeline", "4"});
  CHECK(stages.time.hidden + stages.time.could_hide == 0);
  CHECK(contains(stages.report(), "  not hidden: comm.overlap is not built for parallel.pipeline 4"));
  CHECK(contains(thrown([&] {
                   with({"--parallel.pipeline", "4", "--comm.overlap", "true"});
                 }),
                 "comm.overlap true with parallel.pipeline 4: not built; auto takes it where it is"));
  CHECK(contains(thrown([&] {
                   with({"--parallel.zero", "3", "--comm.overlap", "true"});
                 }),
                 "with parallel.zero 3 on "));
}

TEST_CASE("plan of a mesh: ranks that share rows, experts and class tables: every table and time says what they do") {
  const auto with = [](Strings more) {
    Strings all = {"--config",
                   "configs/model/mesh.json",
                   "--plan.width",
                   "112",
                   "--plan.height",
                   "112",
                   "--plan.text_tokens",
                   "200",
                   "--plan.labelled",
                   "100",
                   "--train.micro_batches",
                   "16"};
    all.insert(all.end(), more.begin(), more.end());
    return planned(all, "a800");
  };
  const MeshPlan alone = with({"--plan.ranks", "8"});
  const MeshPlan rows = with({"--plan.ranks", "16", "--parallel.context", "2", "--parallel.pipeline", "2"});
  REQUIRE(rows.stages.size() == 4);
  CHECK(rows.rank_of(3) == 3);
  CHECK(rows.time.within.at("context") > 0);
  CHECK(rows.time.sums > 0);
  CHECK(rows.time.busy > rows.time.uneven);
  // Together they multiply what one rank multiplies.
  CHECK(rows.flops == doctest::Approx(alone.flops).epsilon(1e-12));
  CHECK(contains(rows.report(), "dp 4 x pp 2 x cp 2 x tp 1, zero 1; 8 a machine"));
  CHECK(contains(rows.report(), "\n  uneven "));
  CHECK(contains(rows.report(), "over ranks that share rows"));

  const Strings mixture = {"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "64",
                           "--plan.ranks",   "16"};
  const MeshPlan whole = with(mixture);
  Strings shared = mixture;
  shared.insert(shared.end(), {"--parallel.experts", "4"});
  const MeshPlan experts = with(shared);
  CHECK(experts.stages[0].held < whole.stages[0].held);
  CHECK(experts.stages[0].rounds == std::vector<std::int64_t>{1});  // turns, of four leaves
  CHECK(experts.time.within.at("experts") > 0);
  CHECK(experts.time.sums > 0);
  CHECK(experts.flops == doctest::Approx(whole.flops).epsilon(1e-12));
  CHECK(contains(experts.report(), "dp 16 (ep 4) x pp 1 x tp 1"));
  CHECK_FALSE(contains(experts.report(), "no micro-batch"));

  // The fewest blocks that fit every rank.
  const auto weight = [](const MeshPlan& m) {
    std::int64_t most = 0;
    for (const Plan& p : m.stages) most = std::max(most, p.memory.total_peak);
    return most;
  };
  Strings again = {"--plan.ranks", "16", "--parallel.context", "2", "--parallel.pipeline", "2", "--train.recompute"};
  const std::int64_t none = weight(rows), all = weight(with(again));
  CHECK(all < none);
  DeviceFacts device = rows.device;
  device.memory = static_cast<double>((all + none) / 2);
  const Config config = Config::parse(cli::keys(), "plan", {"--config", "configs/model/mesh.json"});
  ModelConfig model;
  model.vision = cli::described_vision(config), model.text = cli::described_text(config);
  const MeshPlan chosen = plan_on_mesh(
      device, rows.mesh, [&](const PlanOptions& o) { return plan_model(model, o); }, rows.options, true);
  CHECK(chosen.missing() <= 0);
  CHECK(*chosen.recomputed_blocks > 0);
  CHECK(*chosen.recomputed_blocks < chosen.stages[0].blocks);
  CHECK(contains(chosen.report(), cat("--train.recompute_blocks=", *chosen.recomputed_blocks)));
}

TEST_CASE("plan of a mesh: RICE at the paper's size on 8 to 1024 devices, its class tables shared by eight of them") {
  double last = 0;
  for (const int n : {8, 64, 1024}) {
    CAPTURE(n);
    const Config config = Config::parse(
        cli::keys(), "plan", {"--config", "configs/model/rice-vit-l.json", "configs/recipe/rice-pretrain.json"});
    RegionPlan rice{.vision = cli::described_vision(config),
                    .head = cli::region_head(config),
                    .objects = cli::cluster_options(config, "objects"),
                    .characters = cli::cluster_options(config, "characters")};
    rice.head.classes = 1000000, rice.head.blocks = 8;
    PlanOptions options{.grids = std::vector<Grid>(4, {1, 16, 16}), .micro_batches = n, .train = {}, .ranks = n};
    options.train.classes = 8;
    const DeviceFacts device = find_device("configs/devices.json", "h100");
    const MeshFacts mesh{.node = device.node,
                         .inside = find_link("configs/links.json", device.inside),
                         .between = find_link("configs/links.json", device.between),
                         .mfu = device.mfu};
    const MeshPlan m = plan_on_mesh(
        device, mesh, [&](const PlanOptions& o) { return plan_region(rice, o); }, options);
    const Plan& p = m.stages.at(0);
    // Of a million centres an eighth; of the tower all.
    CHECK(p.parameters - p.held == 1000000 / 8 * 7 * 768);
    CHECK(m.time.within.at("classes") > 0);
    CHECK(m.time.data >= last);
    CHECK((n == 8) == (m.time.data == 0));
    last = m.time.data;
    CHECK(contains(m.report(), cat("dp ", n, " (8 of them share class tables)")));
  }
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

TEST_CASE("plan of a mesh: copies without a micro-batch are those that a run has, whatever ZeRO's stage") {
  const auto said = [](const char* batches, const char* zero, const Strings& more = {}) {
    Strings arguments = {"--config",
                         "configs/model/mesh.json",
                         "--train.micro_batches",
                         batches,
                         "--parallel.zero",
                         zero,
                         "--plan.ranks",
                         "16"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return planned(arguments, "h100").report();
  };
  // 28 over 16 copies: 2 each, of which 14 have some; ZeRO-2 and 3 give 12 of them 2, and 4 of them 1.
  CHECK(contains(said("28", "1"), "\n  2 of 16 copies have no micro-batch: each has a power of two"));
  CHECK(contains(said("28", "1"), "train.micro_batches 32 gives all as many, parallel.zero 2 divides"));
  CHECK_FALSE(contains(said("28", "2"), "no micro-batch"));
  CHECK_FALSE(contains(said("28", "3"), "no micro-batch"));
  CHECK(contains(said("6", "2"), "10 of 16 copies have no micro-batch: a step has 6 (train.micro_batches)"));
  // 4 copies of a pipeline of 4 with 7 leaves each: once filled, or seven times.
  CHECK(contains(said("28", "1", {"--parallel.pipeline", "4"}), "; (p - 1) / (v L + p - 1) is 27.3 %\n"));
  CHECK(contains(said("28", "2", {"--parallel.pipeline", "4"}), " is 75.0 % in each of 7 rounds (parallel.zero 2)\n"));
  // By twos: 14 turns over 8, 2 each, of which 7 have some.
  const Strings twos = {"--text.experts",     "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "64",
                        "--parallel.experts", "2"};
  CHECK(contains(said("28", "1", twos), "\n  2 of 16 copies have no micro-batch"));
  CHECK_FALSE(contains(said("28", "2", twos), "no micro-batch"));
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
                 "parallel.pipeline 4: does not divide 6 ranks; --plan.ranks 8 plans as many"));
  CHECK(contains(refused({"--plan.ranks", "6", "--plan.device", "h100", "--parallel.context", "4"}),
                 "parallel.context 4: does not divide 6 ranks"));
  CHECK(contains(refused({"--plan.ranks", "4", "--plan.device", "h100", "--parallel.experts", "4"}),
                 "parallel.experts 4: the model has no experts"));
  CHECK(contains(refused({"--plan.ranks", "2"}), "plan.device"));
  CHECK(contains(refused({"--plan.ranks", "2", "--plan.device", "cpu"}), "plan.mfu"));
  CHECK(contains(refused({"--plan.ranks", "2", "--plan.device", "h100", "--plan.between", "hdr-200"}), "plan.between"));
  CHECK(contains(refused({"--plan.links", "x"}), "plan.links"));
  CHECK(contains(refused({"--plan.segments", "5000"}), "5000 segments of 512 tokens"));
}
