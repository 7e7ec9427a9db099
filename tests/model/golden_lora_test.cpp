// LoRA against PEFT (tests/golden/lora): what it saves, logits with and without the adapter, gradients of A and B.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "audit/diff.h"
#include "base/io/file.h"
#include "base/rng.h"
#include "model/files/convert.h"
#include "model/files/hf_directory.h"
#include "model/files/lora.h"
#include "nn/layers.h"
#include "store/hf_names.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string golden = "tests/golden/lora";

std::vector<std::string> cases() {
  std::vector<std::string> folders;
  for (const std::string& name : list_directory(golden))
    if (std::filesystem::exists(golden + "/" + name + "/case.safetensors")) folders.push_back(golden + "/" + name);
  REQUIRE(!folders.empty());
  return folders;
}

LoraOptions options_of(const std::string& folder) {
  const Json config = Json::read(folder + "/adapter/adapter_config.json");
  LoraOptions o{.rank = config.at("r").as_int(),
                .alpha = config.at("lora_alpha").as_double(),
                .rslora = config.at("use_rslora").as_bool(),
                .start = folder + "/adapter"};
  for (const Json& target : config.at("target_modules").items()) o.targets.push_back(target.as_string());
  return o;
}

std::unique_ptr<Onevision> model_of(const std::string& folder, const LoadOptions& options) {
  ModelConfig config = read_model_config(folder + "/checkpoint");
  config.text.router_aux_loss_coef = 0;
  return load_model(config, folder + "/checkpoint", options);
}

Tensor logits(const Onevision& model, const std::string& folder) {
  const TraceCase c = read_trace_case(folder + "/case.safetensors", model.parameters().dtype());
  return model.logits(model.hidden(nullptr, single_segment(c.input_ids, {}, {}, cpu()))).value;
}

double worst(const Tensor& a, const Tensor& b) { return compare_tensors({{"t", a}}, {{"t", b}}, {}, 1e-7).worst("t"); }

}  // namespace

TEST_CASE("golden lora: logits with and without the adapter, and every gradient of A and B in fp64") {
  for (const std::string& folder : cases()) {
    CAPTURE(folder);
    const auto model = model_of(folder, {.dtype = Dtype::f64, .lora = options_of(folder)});
    Parameters& parameters = model->parameters();
    parameters.train(trainable({"language_model"}, true, true));
    const TraceCase c = read_trace_case(folder + "/case.safetensors", Dtype::f64);
    MicroBatch row;
    row.input_ids = c.input_ids, row.labels = c.labels;
    row.labels.at(0) = ignored_label;
    for (std::int64_t t = 0; t < row.tokens(); ++t) row.positions.push_back(t);
    row.segments = {{0, row.tokens()}}, row.sample_of_segment = {0}, row.samples = 1;
    const StepTargets targets = loss_targets(as_step({row}), NormaliseBy::global_token_mean);
    const Tensor gradients = parameters.gradient_buffer();
    gradients.zero();
    Tape tape(gradients);
    language_loss(*model, tape, row, targets.micro_batches[0], targets.denominator).backward(tape);

    const Safetensors file = Safetensors::open(folder + "/case.safetensors");
    std::vector<NamedTensor> ours = {{"logits", logits(*model, folder)},
                                     {"logits.base", logits(*model_of(folder, {.dtype = Dtype::f64}), folder)}},
                             reference;
    for (const Parameters::Adapter& l : parameters.adapters())
      for (const Parameter* p : {l.a, l.b})
        ours.push_back({"grad.base_model.model." + name_on_disk(p->name), gradient_of(*p, gradients)});
    for (const auto& e : file.entries())
      if (e.name.starts_with("grad.") || e.name.starts_with("logits"))
        reference.push_back({e.name, file.tensor(e.name)});
    const TraceDifference d = compare_tensors(ours, reference, {}, 1e-7);
    const auto* first = d.first();
    CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
    CHECK(d.compared.size() == ours.size());
    CHECK(worst(file.tensor("logits"), file.tensor("logits.base")) > 1e-3);  // the twin
  }
}

TEST_CASE("golden lora: what is written is what PEFT wrote, and merging it gives the logits of the unmerged model") {
  for (const std::string& folder : cases()) {
    CAPTURE(folder);
    const ScratchDirectory dir;
    const LoraOptions lora = options_of(folder);
    const auto model = model_of(folder, {.lora = lora});
    std::filesystem::create_directory(dir / "adapter");
    write_adapter(dir / "adapter", model->parameters(), true, Dtype::f32);
    const Safetensors theirs = Safetensors::open(folder + "/adapter/adapter_model.safetensors"),
                      ours = Safetensors::open(dir / "adapter/adapter_model.safetensors");
    CHECK(ours.entries().size() == theirs.entries().size());
    for (const auto& e : theirs.entries())
      CHECK_MESSAGE(equal_bits(ours.tensor(e.name), theirs.tensor(e.name)), e.name);
    const Json config = Json::read(dir / "adapter/adapter_config.json"),
               their_config = Json::read(folder + "/adapter/adapter_config.json");
    for (const auto& [key, value] : config.members()) {
      REQUIRE_MESSAGE(their_config.find(key), key);
      if (key != "target_modules") CHECK_MESSAGE(value.dump() == their_config.at(key).dump(), key);
    }

    // In fp64, where rounding is far below what a wrong scale or a missing part would give: at most 100 roundings of
    // 2^-53 a product, seven products in each of two layers, and what norms and softmax make of them, ten times that.
    const double bound = 10 * 14 * 100 * 0x1p-53;
    const Tensor unmerged = logits(*model_of(folder, {.dtype = Dtype::f64, .lora = lora}), folder);
    CHECK(worst(logits(*model_of(folder, {.dtype = Dtype::f64, .adapter = dir / "adapter"}), folder), unmerged) <
          bound);
    CHECK(worst(logits(*model_of(folder, {.dtype = Dtype::f64, .adapter = folder + "/adapter"}), folder), unmerged) <
          bound);
    std::filesystem::create_directory(dir / "merged");
    write_model(dir / "merged", *model, {1}, 1);
    convert_model(folder + "/checkpoint", dir / "converted", {.adapter = dir / "adapter"});
    std::string report;
    CHECK_MESSAGE(diff_weights(dir / "merged", dir / "converted", report), report);
  }
}

TEST_CASE("lora: a merged product differs from the unmerged one by no more than their roundings") {
  const std::int64_t C = 40, F = 24, T = 9;
  Parameters set;
  Linear layer(set, "layer", F, C, true);
  set.adapt({.rank = 5, .alpha = 7, .rslora = true, .targets = {"layer"}});
  set.allocate(Dtype::f32, cpu());
  const Philox random(3, "test values");
  std::uint64_t n = 0;
  for (std::int64_t i = 0; i < set.count(); ++i) set.values().data<float>()[i] = random.normal(n++);
  const Tensor x({T, C}, Dtype::f32, cpu());
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = random.normal(n++);
  const Tensor y = layer(Var{x}).value, w = merged_weight(set, *layer.w);
  const Tensor z = linear(Var{x}, Var{w}, Var{layer.b->value}).value;
  const auto& l = set.adapters().at(0);
  const auto abs_of = [](const Tensor& t) {
    auto v = t.to(Dtype::f64).to_vector<double>();
    for (double& e : v) e = std::abs(e);
    return Tensor::of(v, t.shape());
  };
  // Each term of a sum of n products is rounded at most n + 1 times: 2 C of the two products, r twice, scale and sums.
  const Tensor most = with_low_rank(abs_of(layer.w->value), abs_of(l.a->value), abs_of(l.b->value), set.lora().scale());
  const Tensor terms = linear(Var{abs_of(x)}, Var{most}, Var{abs_of(layer.b->value)}).value;
  const double rounds = 2 * static_cast<double>(C) + 2 * 5 + 8, gamma = rounds * 0x1p-24 / (1 - rounds * 0x1p-24);
  double largest = 0;
  for (std::int64_t i = 0; i < y.numel(); ++i) {
    const double d = std::abs(double{y.data<float>()[i]} - double{z.data<float>()[i]});
    CHECK(d <= gamma * terms.data<double>()[i]);
    largest = std::max(largest, d);
  }
  CHECK(largest > 0);
}

TEST_CASE("lora: targets that fit nothing, part of a mixture, or another adapter to go on from, are refused by name") {
  const std::string folder = golden + "/mixture";
  const auto refused = [&](const std::function<void(LoraOptions&)>& change) {
    LoraOptions o = options_of(cases().front());
    o.start = "";
    change(o);
    return thrown([&] { model_of(folder, {.lora = o}); });
  };
  CHECK(contains(refused([](LoraOptions& o) { o.targets = {"q_prj"}; }), "q_prj; did you mean 'q_proj'?"));
  CHECK(contains(refused([](LoraOptions& o) { o.targets = {"experts.0.up_proj"}; }), "1 of 3 experts"));
  CHECK(contains(refused([](LoraOptions& o) { o.targets = {"embed_tokens"}; }), "embed_tokens"));
  CHECK(contains(refused([](LoraOptions& o) { o.targets = {}; }), "names no matrix"));
  CHECK(contains(refused([](LoraOptions& o) { o.start = golden + "/projections/adapter"; }), "lora.start"));
  LoraOptions o = options_of(cases().front());
  o.targets = {"*.layers.*.mlp.*_proj"}, o.start = "";
  CHECK(model_of(folder, {.lora = o})->parameters().adapters().size() == 2 * 3 * 3);  // not the router
}
