// Biases in attention as Transformers' classes have them (tests/golden/attention_bias): Qwen3's and Qwen3-MoE's
// attention_bias is on q, k, v and the output; Qwen2 always has it on q, k, v alone.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "audit/diff.h"
#include "audit/inspect.h"
#include "audit/plan.h"
#include "base/io/file.h"
#include "model/files/convert.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/model/small_model.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string golden = "tests/golden/attention_bias";

std::vector<std::string> cases() {
  std::vector<std::string> folders;
  for (const std::string& name : list_directory(golden))
    if (std::filesystem::exists(golden + "/" + name + "/case.safetensors")) folders.push_back(golden + "/" + name);
  REQUIRE(!folders.empty());
  return folders;
}

struct Compared {
  Trace trace;
  TraceDifference difference;
};
Compared compare(const std::string& folder, Dtype dtype) {
  const std::string path = folder + "/case.safetensors";
  const auto model = load_model(folder + "/checkpoint", {.dtype = dtype});
  Compared c{trace_model(*model, read_trace_case(path, dtype)), {}};
  const Safetensors file = Safetensors::open(path);
  std::vector<NamedTensor> reference;
  for (const auto& e : file.entries())
    if (e.name != "input_ids" && e.name != "labels") reference.push_back({e.name, file.tensor(e.name)});
  c.difference = compare_tensors(c.trace.tensors, reference, {}, 1e-7);
  return c;
}

std::set<std::string> names_of(const std::string& directory) {
  std::set<std::string> names;
  const CheckpointReader weights = CheckpointReader::open(directory);
  for (const auto& e : weights.entries()) names.insert(e.on_disk);
  return names;
}

}  // namespace

TEST_CASE("golden attention bias: every activation, gradient and loss in fp64; fp32 as close as PyTorch's") {
  for (const std::string& folder : cases()) {
    CAPTURE(folder);
    const Json summary = Json::read(folder + "/summary.json");
    const Compared wide = compare(folder, Dtype::f64);
    const auto* first = wide.difference.first();
    CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
    CHECK(wide.difference.compared.size() > 20);
    for (const auto& [name, loss] : {std::pair{"loss_fp64", wide.trace.loss}, {"aux_loss_fp64", wide.trace.aux_loss}})
      if (const Json* value = summary.find(name)) CHECK(std::abs(loss - value->as_double()) <= 1e-10 * loss);
    const Json& theirs = summary.at("fp32_error_of_pytorch");
    const TraceDifference narrow = compare(folder, Dtype::f32).difference;
    for (const auto& [ours, name] :
         {std::pair{"logits", "logits"}, {"act.", "worst_activation"}, {"grad.", "worst_gradient"}})
      CHECK_MESSAGE(narrow.worst(ours) <= 2 * theirs.at(name).as_double(), name);
  }
}

TEST_CASE("golden attention bias: checked, planned, written and converted with the tensors that are there") {
  for (const std::string& folder : cases()) {
    CAPTURE(folder);
    const ScratchDirectory dir;
    const std::string from = folder + "/checkpoint";
    CHECK(inspect_checkpoint(from).problems.empty());
    const auto model = load_model(from);
    const PlanOptions options{.grids = {}, .text_tokens = 3, .train = {}};
    CHECK(plan_model(model->config(), options).parameters == model->parameters().count());

    write_model(dir.path(), *model, {1}, 1);
    const Json config = Json::read(dir / "config.json"), source = Json::read(from + "/config.json");
    for (const char* key : {"model_type", "architectures"}) CHECK(config.at(key).dump() == source.at(key).dump());
    CHECK(equal_bits(load_model(dir.path())->parameters().values(), model->parameters().values()));
    CHECK(names_of(dir.path()) == names_of(from));
    std::string report;
    CHECK_MESSAGE(diff_weights(from, dir.path(), report), report);
    convert_model(from, dir / "bf16", {.dtype = Dtype::bf16});
    CHECK(names_of(dir / "bf16") == names_of(from));
    CHECK(inspect_checkpoint(dir / "bf16").problems.empty());

    // The twin: without one of its biases it is no such model.
    std::vector<NamedTensor> fewer;
    std::string gone;
    const CheckpointReader weights = CheckpointReader::open(from);
    for (const auto& e : weights.entries())
      if (e.name.ends_with("_proj.bias")) gone = std::max(gone, e.on_disk);
    for (const auto& e : weights.entries())
      if (e.on_disk != gone) fewer.push_back({e.name, weights.tensor(e.name)});
    std::filesystem::create_directory(dir / "fewer");
    std::filesystem::copy(from + "/config.json", dir / "fewer/config.json");
    write_checkpoint(dir / "fewer", fewer);
    const auto problems = inspect_checkpoint(dir / "fewer").problems;
    REQUIRE(problems.size() == 1);
    CHECK_MESSAGE(problems[0].find(gone) != std::string::npos, problems[0]);
  }
}

TEST_CASE("attention bias of a whole model: on the output too where heads have norms, and config.json keeps which") {
  for (const bool norms : {true, false})
    for (const bool biases : {true, false}) {
      CAPTURE(norms);
      CAPTURE(biases);
      ModelConfig config = small_config();
      config.text.qk_norm = norms;
      config.text.qkv_bias = biases;
      for (const ModelConfig& c : {config, ModelConfig::read(config.json(), "config.json")}) {
        Onevision model(c);
        const auto has = [&](const char* name) {
          return model.parameters().find(cat("model.language_model.layers.1.self_attn.", name)) != nullptr;
        };
        for (const char* name : {"q_proj.bias", "k_proj.bias", "v_proj.bias"}) CHECK(has(name) == biases);
        CHECK(has("o_proj.bias") == (biases && norms));
        CHECK(has("q_norm.weight") == norms);
      }
    }
}
