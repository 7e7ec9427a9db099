// A planned step that is too large for its ranks, and ranks that share the machine which plans.
#include <doctest/doctest.h>

#include <sstream>

#include "audit/plan_mesh.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("plan of a mesh: where it does not fit, keys that help are named, and help as much as is said") {
  const Strings mesh = {"--config",
                        "configs/model/mesh.json",
                        "--plan.width",
                        "112",
                        "--plan.height",
                        "112",
                        "--train.micro_batches",
                        "8",
                        "--plan.ranks",
                        "8"};
  const auto made = [&](const Strings& more, std::int64_t memory) {
    Strings arguments = mesh;
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Config config = Config::parse(cli::keys(), "plan", arguments);
    ModelConfig model;
    model.vision = cli::described_vision(config), model.text = cli::described_text(config);
    DeviceFacts device = find_device("configs/devices.json", "h100");
    if (memory > 0) device.memory = static_cast<double>(memory);
    const MeshFacts facts{.inside = find_link("configs/links.json", device.inside), .mfu = device.mfu};
    return plan_on_mesh(
        device, facts, [&](const PlanOptions& o) { return plan_model(model, o); },
        cli::plan_options(config, model.vision));
  };
  CHECK(made({}, 0).remedies.empty());
  for (const Strings& ways :
       {Strings{}, {"--parallel.pipeline", "2"}, {"--parallel.pipeline", "2", "--parallel.tensor", "4"}}) {
    CAPTURE(to_text(ways));
    const MeshPlan small = made(ways, 1 << 20);
    const std::string report = small.report();
    REQUIRE(small.remedies.size() > 2);
    std::string keys;
    for (const MeshPlan::Remedy& r : small.remedies) {
      CAPTURE(r.keys);
      CHECK(contains(report, "  with " + r.keys + ":"));
      Strings again = ways;
      std::istringstream words(r.keys);
      for (std::string word; words >> word;) again.push_back(word);
      CHECK(made(again, 1 << 20).missing() == r.missing);
      CHECK(r.missing < small.missing());
      keys += r.keys + " ";
    }
    CHECK(contains(report, "  no key makes it fit: more of parallel.tensor"));
    CHECK(contains(keys, "--train.recompute"));
    CHECK(contains(keys, "--parallel.zero=") == (ways.size() < 4));  // copies
    CHECK(contains(keys, "bf16_stochastic") == ways.empty());
    // The last is all of them.
    for (const MeshPlan::Remedy& r : small.remedies) CHECK(small.remedies.back().missing <= r.missing);
  }
  const MeshPlan tight = made({}, made({"--train.recompute"}, 0).stages[0].memory.total_peak);
  CHECK(tight.missing() > 0);
  CHECK(contains(tight.report(), " GB less, fits; "));
  CHECK_FALSE(contains(tight.report(), "no key makes it fit"));
}

TEST_CASE("plan of a mesh: ranks of the machine that plans have a share of it, and the peak is said") {
  const DeviceFacts here = find_device("configs/devices.json", "cpu");
  const Config config = Config::parse(
      cli::keys(), "plan",
      {"--config", "configs/model/mesh.json", "--plan.images", "0", "--plan.ranks", "8", "--train.micro_batches", "8"});
  ModelConfig model;
  model.has_tower = false, model.text = cli::described_text(config);
  const auto planned = [&](int node) {
    const LinkFacts link = find_link("configs/links.json", here.inside);
    return plan_on_mesh(
        here, {.node = node, .inside = link, .between = link, .mfu = 0.5},
        [&](const PlanOptions& o) { return plan_model(model, o); }, cli::plan_options(config, model.vision));
  };
  for (const auto& [node, share] : {std::pair{0, 8}, {2, 2}, {1, 1}}) {
    const MeshPlan m = planned(node);
    CHECK(m.device.memory == here.memory / share);
    CHECK(m.device.peak.at("f32") == here.peak.at("f32") / share);
    CHECK(m.time.leaves == doctest::Approx((m.stages[0].forward_flops + m.stages[0].backward_flops) /
                                           (0.5 * here.peak.at("f32") / share)));
    CHECK(contains(m.report(), share > 1 ? cat("on 8 x 1/", share, " of this machine: ") : "on 8 x this machine: "));
    CHECK(contains(m.report(), " TFLOP/s a rank\n"));
  }
}
