// The two reference implementations disagree in a few constants. numerics.reference sets all of them, a key each alone.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "audit/plan.h"
#include "audit/trace.h"
#include "base/rng.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const char* const checkpoint = "tests/golden/dense/checkpoint";

// What the two implementations have. A new key under numerics. needs a line here, or is no constant of theirs.
struct Constant {
  std::string hf, megatron;
};
const std::map<std::string, Constant> constants = {{"numerics.pre_norm_eps", {"1e-5", "1e-4"}},
                                                   {"numerics.merger_norm_eps", {"1e-5", "1e-6"}},
                                                   {"numerics.segments", {"per_frame", "per_grid_row"}}};
// Faults of the released code that neither setting of the reference has.
const std::map<std::string, std::string> faults = {{"numerics.hf_shift_bug", "true"}};

// What no constant of the model is: how pictures become patches (tests/image/fast_test.cpp).
const std::set<std::string> pictures = {"numerics.processor"};

// Logits of a picture, a video of two frames and text, in f64.
std::vector<double> logits(const Strings& arguments) {
  const Config config = Config::parse(cli::keys(), "trace", arguments);
  LoadOptions options = cli::load_options(config);
  options.dtype = Dtype::f64;
  const auto model = load_model(checkpoint, options);
  const ModelConfig& c = model->config();
  TraceCase given{.input_ids = {1, 2}, .labels = {}, .pixel_values = {}, .grids = {{1, 2, 4}, {2, 4, 4}}};
  std::int64_t patches = 0;
  for (const Grid& g : given.grids) patches += g.patches();
  given.input_ids.insert(given.input_ids.end(), static_cast<std::size_t>(patches / 4), c.image_token);
  given.input_ids.insert(given.input_ids.end(), {3, 4, 5});
  given.pixel_values = Tensor({patches, c.vision.patch_values()}, Dtype::f64, cpu());
  const Philox random(1, "numerics test");
  for (std::int64_t i = 0; i < given.pixel_values.numel(); ++i)
    given.pixel_values.data<double>()[i] = random.normal(static_cast<std::uint64_t>(i));
  return trace_model(*model, given).find("logits")->to_vector<double>();
}

// All constants as one of the two has them, but for one key.
Strings set(const char* reference, std::string Constant::*value, const std::string& but = "") {
  Strings arguments = {"--numerics.reference", reference};
  for (const auto& [key, constant] : constants)
    if (key != but) arguments.insert(arguments.end(), {"--" + key, constant.*value});
  return arguments;
}

std::int64_t trained(const Strings& more) {
  Strings arguments = {"--config", "configs/model/tiny.json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Config config = Config::parse(cli::keys(), "plan", arguments);
  ModelConfig model;
  model.vision = cli::described_vision(config), model.text = cli::described_text(config);
  return plan_model(model, cli::plan_options(config, model.vision)).trained;
}

}  // namespace

TEST_CASE(
    "numerics: every constant in which the references disagree matters alone, and the reference sets them all (M-02, "
    "M-05)") {
  const auto hf = logits({}), megatron = logits({"--numerics.reference", "megatron"});
  CHECK(hf != megatron);
  CHECK(logits(set("hf", &Constant::hf)) == hf);
  CHECK(logits(set("hf", &Constant::megatron)) == megatron);
  CHECK(logits(set("megatron", &Constant::hf)) == hf);
  int walked = 0;
  for (const Key& key : cli::keys().keys()) {
    const std::string name(key.name);
    if (!name.starts_with("numerics.") || name == "numerics.reference" || pictures.contains(name)) continue;
    CAPTURE(name);
    ++walked;
    if (const auto fault = faults.find(name); fault != faults.end()) {
      CHECK(logits({"--" + name, fault->second}) != hf);
      CHECK(logits({"--numerics.reference", "megatron", "--" + name, fault->second}) != megatron);
      continue;
    }
    REQUIRE(constants.contains(name));
    const Constant& c = constants.at(name);
    CHECK(logits({"--" + name, c.hf}) == hf);
    CHECK(logits({"--" + name, c.megatron}) != hf);
    CHECK(logits({"--numerics.reference", "megatron", "--" + name, c.megatron}) == megatron);
    CHECK(logits({"--numerics.reference", "megatron", "--" + name, c.hf}) != megatron);
    CHECK(logits(set("hf", &Constant::megatron, name)) != megatron);
  }
  CHECK(walked == static_cast<int>(constants.size() + faults.size()));
}

TEST_CASE(
    "numerics: the class token's parameters are trained as the reference has it, unless a key says otherwise (M-06, "
    "T-05)") {
  const std::int64_t all = trained({}), class_params = 96 + 16;  // class_embedding, class_pos_emb of configs/model/tiny
  const std::string flag = "--train.train_class_params";
  CHECK(trained({"--numerics", "megatron"}) == all - class_params);
  CHECK(trained({"--numerics", "hf"}) == all);
  for (const char* reference : {"hf", "megatron"}) {
    CHECK(trained({"--numerics", reference, flag, "true"}) == all);
    CHECK(trained({"--numerics", reference, flag}) == all);
    CHECK(trained({"--numerics", reference, flag, "false"}) == all - class_params);
  }
  CHECK(trained({"--numerics", "megatron", flag, "reference"}) == all - class_params);
  const ScratchDirectory dir;  // in a file, the words true and false need no quotes
  write_durably(dir / "c.json", R"({"train": {"train_class_params": false}})");
  CHECK(trained({"--config", dir / "c.json"}) == all - class_params);
  write_durably(dir / "c.json", R"({"train": {"train_class_params": 0}})");
  CHECK_THROWS_AS(trained({"--config", dir / "c.json"}), Error);
}

TEST_CASE("numerics: a model that was computed with Megatron's constants is written with what its config.json said") {
  const ScratchDirectory dir;
  write_model(dir.path(), *load_model(checkpoint, {.reference = "megatron", .pre_norm_eps = 0.25}), {702, 700}, 700);
  CHECK(Json::read(dir / "config.json").at("vision_config").at("layer_norm_eps").as_double() == 1e-5);
  const VisionConfig again = read_model_config(dir.path()).vision;
  CHECK(again.pre_norm_eps == 1e-5);
  CHECK(again.merger_norm_eps == 1e-5);
}
