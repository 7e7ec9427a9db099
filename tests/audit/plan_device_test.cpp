// Every machine of configs/devices.json, every model of configs/model, every stage that trains a whole model.
#include "audit/plan_device.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "base/io/file.h"
#include "base/parallel.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const char* const table = "configs/devices.json";

// Files of a folder whose top level has `with` and not `without`.
std::vector<std::string> files(const std::string& folder, const char* with, const char* without) {
  std::vector<std::string> paths;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".json") continue;
    const Json json = Json::read(file.path());
    if (json.find(with) && !json.find(without)) paths.push_back(file.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

struct Planned {
  ModelConfig model;
  PlanOptions options;
};

Planned planned(const Strings& arguments) {
  const Config config = Config::parse(cli::keys(), "plan", arguments);
  Planned p;
  p.model.vision = cli::described_vision(config), p.model.text = cli::described_text(config);
  if (p.model.text.vocabulary == 0) p.model.text.vocabulary = 700;  // a tokenizer's
  p.options = cli::plan_options(config, p.model.vision);
  return p;
}

std::int64_t bytes(const Plan& plan) { return plan.memory.total_peak; }

// Plans one stage of one model; the same step for the next machine is not planned again.
Planner remembered(const ModelConfig& model) {
  auto known = std::make_shared<std::map<std::string, Plan>>();
  return [&model, known](const PlanOptions& o) {
    const std::string key = cat(o.gpu, " ", o.recompute, " ", o.recompute_first, " ", o.train.floor, " ", o.train.tree,
                                " ", o.train.loss_rows, " ", static_cast<int>(o.train.optimizer.moments), " ",
                                o.train.optimizer.state_on != nullptr);
    auto found = known->find(key);
    if (found == known->end()) found = known->emplace(key, plan_model(model, o)).first;
    return found->second;
  };
}

}  // namespace

TEST_CASE("plan: every machine, model and stage: the step's time and room, and remedies that do what is said") {
  const auto models = files("configs/model", "text", "clip"), stages = files("configs/recipe", "train", "rice"),
             small = files("configs/demo", "train", "pretrain");
  REQUIRE(models.size() > 1);
  REQUIRE(stages.size() > 1);
  REQUIRE(small.size() > 1);
  std::vector<DeviceFacts> devices;
  for (const DeviceFacts& row : read_devices(table)) devices.push_back(find_device(table, row.name));
  int too_large = 0, helped = 0;
  for (const std::string& model : models)
    for (const auto* of : {&stages, &small})
      for (const std::string& stage : *of) {
        const Planned p = planned({"--config", model, stage, "--train.micro_batches", "3"});
        const Planner planner = remembered(p.model);
        std::map<std::string, std::int64_t> remedied;  // bytes, by the keys that were given and what kind of machine
        for (const DeviceFacts& device : devices) {
          CHECK(device.memory > 1e9);
          CAPTURE(device.name);
          CAPTURE(model);
          CAPTURE(stage);
          const double mfu = device.measured ? 0.5 : 0;  // measuring has a test of its own
          const DevicePlan on = plan_on(device, planner, p.options, mfu);
          const Plan& plan = on.step.plan;
          CHECK(on.step.missing == bytes(plan) - static_cast<std::int64_t>(device.memory));
          CHECK(on.remedies.empty() == (on.step.missing <= 0));
          const double peak = device.peak.at(name_of(p.options.dtype));
          const double all = plan.forward_flops + plan.backward_flops + plan.recomputed_flops;
          CHECK(on.step.seconds == doctest::Approx(all / ((mfu > 0 ? mfu : device.mfu) * peak) +
                                                   update_bytes(plan.trained, 3) / device.bandwidth));
          too_large += on.step.missing > 0;
          for (const DevicePlan::Remedy& r : on.remedies) {
            CAPTURE(r.keys);
            ++helped;
            const std::string with = cat(r.keys, device.measured ? " on the host" : " on a GPU");
            if (!remedied.count(with)) {
              Strings again = {"--config", model, stage, "--train.micro_batches", "3"};
              for (std::size_t at = 0; at != r.keys.npos; at = r.keys.find(' ', at + 1))
                again.push_back(r.keys.substr(at + (at > 0), r.keys.find(' ', at + 1) - at - (at > 0)));
              Planned q = planned(again);
              q.options.gpu = !device.measured;
              remedied[with] = bytes(plan_model(q.model, q.options));
            }
            CHECK(bytes(r.step.plan) == remedied.at(with));
            CHECK(bytes(r.step.plan) < bytes(plan));
          }
          const std::string report = on.report();
          CHECK(report.find(device.about) != report.npos);
          CHECK((report.find("too large by") == report.npos) == (on.step.missing <= 0));
        }
      }
  CHECK(too_large > 0);
  CHECK(helped > 0);
}

TEST_CASE("plan: on this machine the time is the floor's, from rates measured here, however large the products are") {
  const DeviceFacts here = find_device(table, "cpu");
  CHECK(here.measured);
  const Planned p = planned({"--config", "configs/model/4b.json"});
  const DevicePlan on = plan_on(here, p.model, p.options, 0);
  CHECK(on.mfu == 0);
  const double model = on.step.plan.forward_flops + on.step.plan.backward_flops;
  CHECK(on.step.seconds > model / (8 * here.peak.at("f32")));  // a shared machine: rates differ by the minute
  CHECK(on.step.seconds < model / (0.01 * here.peak.at("f32")));
  CHECK(on.report().find("at rates measured now") != std::string::npos);
}

TEST_CASE("plan: a table of machines with a fault is named with file, machine and key") {
  const ScratchDirectory dir;
  const std::string path = dir / "devices.json";
  const std::string good =
      R"("about": "x", "memory_gb": 8, "driver_gb": 1, "tflops": {"bf16": 1, "f32": 1, "f64": 1}, "bandwidth_gb_s": 1,
         "link_gb_s": 1, "mfu": 0.5)";
  const auto says = [&](const std::string& row) -> std::string {
    write_durably(path, "{\"box\": {" + row + "}}");
    try {
      find_device(path, "box");
    } catch (const Error& e) { return e.what(); }
    return "";
  };
  const auto without = [&](const std::string& part, const std::string& by) {
    std::string row = good;
    return row.replace(row.find(part), part.size(), by);
  };
  CHECK(says(good) == "");
  CHECK(find_device(path, "box").memory == 7e9);
  CHECK(says(without("\"about\": \"x\"", "\"about\": \"\"")) ==
        path + ": box: about: missing; say which machine it is");
  CHECK(says(without("\"f32\": 1, ", "")).find(path + ": box: tflops: f32") == 0);
  CHECK(says(without("\"mfu\": 0.5", "\"mfu\": 1.5")) == path + ": box: mfu is 1.5, expected at most 1");
  CHECK(says(without("\"driver_gb\": 1", "\"driver_gb\": 8")) == path + ": box: driver_gb is all of memory_gb");
  for (const char* key : {"memory_gb\": 8", "bandwidth_gb_s\": 1", "link_gb_s\": 1", "bf16\": 1"}) {
    const std::string part = key, name = part.substr(0, part.find('"'));
    CHECK(says(without(part, name + "\": 0")).find(name + " is 0, expected more than 0") != std::string::npos);
    CHECK(says(without(part, name + "\": \"much\"")).find(name) != std::string::npos);
  }
  CHECK(says(good + ", \"bandwith\": 3").find("bandwith") != std::string::npos);
  write_durably(path, "{\"box\": {" + good + "}}");
  CHECK_THROWS_WITH_AS(find_device(path, "boxes"), ("plan.device: " + path + " has no boxes; it has box").c_str(),
                       Error);
}
