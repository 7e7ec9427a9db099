// Mixtures of experts against Transformers' Qwen3-MoE (tests/golden/README.md): activations, router logits, losses of
// both scopes, every gradient.
#include <doctest/doctest.h>

#include "audit/diff.h"
#include "base/io/file.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string golden = "tests/golden/moe", steps = "tests/golden/moe_micro_batches";

std::vector<std::string> cases() {
  std::vector<std::string> files;
  for (const std::string& name : list_directory(golden))
    if (name.starts_with("case") && name.ends_with(".safetensors")) files.push_back(golden + "/" + name);
  REQUIRE(!files.empty());
  return files;
}

std::unique_ptr<Onevision> model_of(const std::string& directory, Dtype dtype, double aux_coef = -1) {
  ModelConfig config = read_model_config(directory + "/checkpoint");
  if (aux_coef >= 0) config.text.router_aux_loss_coef = aux_coef;
  return load_model(config, directory + "/checkpoint", {.dtype = dtype});
}

struct Compared {
  Trace trace;
  TraceDifference difference;
};
Compared compare_case(const std::string& path, Dtype dtype, double aux_coef = -1) {
  const auto model = model_of(golden, dtype, aux_coef);
  Compared c{trace_model(*model, read_trace_case(path, dtype)), {}};
  const Safetensors file = Safetensors::open(path);
  std::vector<NamedTensor> reference;
  for (const auto& e : file.entries())
    if (e.name.starts_with("act.") || e.name.starts_with("grad.") || e.name == "logits")
      reference.push_back({e.name, file.tensor(e.name)});
  c.difference = compare_tensors(c.trace.tensors, reference, {}, 1e-7);
  return c;
}

double figure(const Json& value) { return (value.is_array() ? value[0] : value).as_double(); }
bool near(double a, double b) { return std::abs(a - b) <= 1e-10 * std::abs(b); }

// The step of moe_micro_batches/: mb0.*, mb1.*, ...
struct Step {
  Step() : file(Safetensors::open(steps + "/case.safetensors")), summary(Json::read(steps + "/summary.json")) {
    std::vector<MicroBatch> rows;
    for (int i = 0; file.find(cat("mb", i, ".input_ids")); ++i) {
      MicroBatch b;
      b.input_ids = file.tensor(cat("mb", i, ".input_ids")).to_vector<std::int64_t>();
      b.labels = file.tensor(cat("mb", i, ".labels")).to_vector<std::int64_t>();
      b.labels.at(0) = ignored_label;
      for (std::int64_t t = 0; t < b.tokens(); ++t) b.positions.push_back(t);
      b.segments = {{0, b.tokens()}};
      b.sample_of_segment = {0};
      b.samples = 1;
      rows.push_back(b);
    }
    REQUIRE(rows.size() > 1);
    step = as_step(std::move(rows));
  }
  // Stored gradients of one part of the loss; null where the part does not reach.
  Tensor stored(const std::string& part, const std::string& parameter) const {
    const std::string name = "grad." + part + "." + name_on_disk(parameter);
    return file.find(name) ? file.tensor(name) : Tensor();
  }
  const Safetensors file;
  const Json summary;
  GlobalStep step;
};

// The largest difference of a step's gradients from Σ coefficient · stored part, as compare_tensors measures it. A
// gradient that no part reaches must be exactly zero.
double worst_gradient(Onevision& model, GlobalStep step, const Step& golden, bool labels, bool aux_global,
                      const std::vector<std::pair<std::string, double>>& parts) {
  if (!labels)
    for (MicroBatch& b : step.micro_batches) b.labels.assign(b.labels.size(), ignored_label);
  FixedSteps data({step});
  TrainOptions options;
  options.aux_global = aux_global;
  Training training(model, data, options);
  training.prepare();
  const Tensor gradients = training.accumulate(0, static_cast<std::int64_t>(step.micro_batches.size()));
  std::vector<NamedTensor> ours, theirs;
  for (const auto& e : model.parameters().entries()) {
    const Tensor got = gradient_of(e.parameter, gradients).to(Dtype::f64);
    const Tensor sum = Tensor::zeros(got.shape(), Dtype::f64, cpu());
    bool reached = false;
    for (const auto& [part, coefficient] : parts)
      if (const Tensor t = golden.stored(part, e.parameter.name)) {
        reached = true;
        const auto values = t.to(Dtype::f64).to_vector<double>();
        for (std::size_t i = 0; i < values.size(); ++i) sum.data<double>()[i] += coefficient * values[i];
      }
    if (!reached) CHECK_MESSAGE(same_bits(got, sum), e.parameter.name);
    ours.push_back({"grad." + e.parameter.name, got}), theirs.push_back({"grad." + e.parameter.name, sum});
  }
  return compare_tensors(ours, theirs, {}, 1e-7).worst("grad.");
}

}  // namespace

TEST_CASE("golden moe: every activation, router logit and gradient in fp64 within the rounding of the stored values") {
  const Json summary = Json::read(golden + "/summary.json");
  for (const std::string& path : cases()) {
    CAPTURE(path);
    const Compared c = compare_case(path, Dtype::f64);
    const auto* first = c.difference.first();
    CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
    CHECK(c.difference.compared.size() > 40);
    CHECK(near(c.trace.loss, summary.at("loss_fp64").as_double()));
    CHECK(near(c.trace.aux_loss, summary.at("aux_loss_fp64_before_coefficient").as_double()));
    CHECK(c.trace.find("aux_loss")->to_vector<double>()[0] == c.trace.aux_loss);
    CHECK_FALSE(compare_case(path, Dtype::f64, 0).difference.within());  // the twin: without the balancing loss
  }
}

TEST_CASE("golden moe: in fp32 no class is more than twice as far from fp64 as PyTorch's fp32 at its worst") {
  const Json summary = Json::read(golden + "/summary.json");
  const Json& theirs = summary.at("fp32_error_of_pytorch");
  for (const std::string& path : cases()) {
    CAPTURE(path);
    const Compared c = compare_case(path, Dtype::f32);
    CHECK(c.difference.worst("logits") <= 2 * figure(theirs.at("logits")));
    CHECK(c.difference.worst("act.lm_head") <= 2 * figure(theirs.at("logits")));
    CHECK(c.difference.worst("grad.") <= 2 * figure(theirs.at("worst_gradient")));
    if (const Json* activation = theirs.find("worst_activation"))
      CHECK(c.difference.worst("act.") <= 2 * figure(*activation));
    CHECK(std::abs(c.trace.loss - summary.at("loss_fp64").as_double()) <= 1e-5 * c.trace.loss);
  }
}

TEST_CASE("golden moe: each micro-batch's logits and router logits in fp64") {
  const Step golden;
  const auto model = model_of(steps, Dtype::f64);
  for (std::size_t i = 0; i < golden.step.micro_batches.size(); ++i) {
    const std::string prefix = cat("mb", i, ".");
    TraceCase input;
    input.input_ids = golden.step.micro_batches[i].input_ids;
    const Trace t = trace_model(*model, input);
    std::vector<NamedTensor> reference;
    for (const auto& e : golden.file.entries())
      if (e.name.starts_with(prefix + "act.") || e.name == prefix + "logits")
        reference.push_back({e.name.substr(prefix.size()), golden.file.tensor(e.name)});
    CHECK(reference.size() > 1);
    CHECK(compare_tensors(t.tensors, reference, {}, 1e-7).within());
  }
}

TEST_CASE("golden moe: the balancing loss of both scopes, its gradients alone and beside the cross entropy") {
  const Step golden;
  const Json& theirs = golden.summary.at("fp32_error_of_pytorch");
  for (const bool global : {false, true}) {
    CAPTURE(global);
    const std::string part = global ? "aux_global" : "aux_micro_batch_mean";
    const auto gradients = [&](Dtype dtype, double coef, bool labels,
                               const std::vector<std::pair<std::string, double>>& parts, bool scope) {
      return worst_gradient(*model_of(steps, dtype, coef), golden.step, golden, labels, scope, parts);
    };
    CHECK(gradients(Dtype::f64, 1, false, {{part, 1}}, global) <= 1e-7);
    CHECK(gradients(Dtype::f64, 0.001, true, {{"ce", 1}, {part, 0.001}}, global) <= 1e-7);
    CHECK(gradients(Dtype::f64, 1, false, {{part, 1}}, !global) > 1e-3);  // the twin: the other scope
    CHECK(gradients(Dtype::f32, 1, false, {{part, 1}}, global) <= 2 * figure(theirs.at(part)));
    CHECK(gradients(Dtype::f32, 0, true, {{"ce", 1}}, global) <= 2 * figure(theirs.at("ce")));

    const auto model = model_of(steps, Dtype::f64);
    FixedSteps data({golden.step});
    TrainOptions options;
    options.aux_global = global;
    options.schedule.warmup = 0;
    Training training(*model, data, options);
    const StepReport report = training.step();
    const double aux = golden.summary.at(part + "_fp64").as_double(), ce = golden.summary.at("ce_fp64").as_double();
    CHECK(near(report.parts.at("aux_loss").as_double(), aux));
    CHECK(near(report.parts.at("token_loss").as_double(), ce));
    CHECK(near(report.loss, ce + model->config().text.router_aux_loss_coef * aux));
  }
}
