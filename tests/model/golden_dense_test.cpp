// The whole model against the original code (tests/golden/README.md): cases of text, pictures of odd shapes and several
// pictures.
#include <doctest/doctest.h>

#include "audit/diff.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const std::string golden = "tests/golden/dense";
// The names of summary.json's cases.
std::vector<std::string> cases() {
  std::vector<std::string> names;
  const Json all = Json::read(golden + "/summary.json");
  for (const Json& c : all.at("cases").items()) names.push_back(c.at("name").as_string());
  REQUIRE(!names.empty());
  return names;
}

bool holds(const std::string& name, const std::string& tensor) {
  return Safetensors::open(golden + "/case_" + name + ".safetensors").find(tensor) != nullptr;
}

TraceDifference compare_case(const std::string& name, const LoadOptions& options,
                             const std::string& reference_logits = "") {
  const auto model = load_model(golden + "/checkpoint", options);
  const std::string path = golden + "/case_" + name + ".safetensors";
  const Trace ours = trace_model(*model, read_trace_case(path, options.dtype));
  const Safetensors file = Safetensors::open(path);
  std::vector<NamedTensor> reference;
  if (!reference_logits.empty()) {
    reference.push_back({"logits", file.tensor(reference_logits)});
  } else {
    for (const auto& e : file.entries())
      if (e.name.starts_with("act.") || e.name.starts_with("grad.") || e.name == "logits" || e.name == "token_loss")
        reference.push_back({e.name, file.tensor(e.name)});
  }
  return compare_tensors(ours.tensors, reference, {}, 1e-7);
}

Json summary() { return Json::read(golden + "/summary.json"); }

}  // namespace

TEST_CASE(
    "golden dense: every activation, gradient, logit and token loss in fp64 within the rounding of the stored values "
    "(M-09, M-10, M-11, M-16, M-17, M-24, M-26)") {
  for (const auto& name : cases()) {
    const TraceDifference d = compare_case(name, {.dtype = Dtype::f64});
    CAPTURE(name);
    CHECK(d.compared.size() > 40);
    const auto* first = d.first();
    CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
  }
}

TEST_CASE("dense: a model read in place has the bits of one that was copied, and weights in the mapped files") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const auto copied = load_model(golden + "/checkpoint", {.dtype = dtype}),
               mapped = load_model(golden + "/checkpoint", {.dtype = dtype, .in_place = true});
    const CheckpointReader file = CheckpointReader::open(golden + "/checkpoint");
    std::size_t in_place = 0;
    for (const auto& e : mapped->parameters().entries()) {
      const Parameter* p = copied->parameters().find(e.parameter.name);
      CHECK_MESSAGE(equal_bits(e.parameter.value, p->value), p->name);
      in_place += e.parameter.value.storage()->owner != nullptr;
    }
    const bool as_stored = file.tensor(table_name).dtype() == dtype;
    CHECK((in_place > mapped->parameters().entries().size() / 2) == as_stored);
    const std::vector<std::int64_t> ids = {5, 6, 7, 8};
    const auto logits = [&](const Onevision& m) {
      return m.logits(m.hidden(nullptr, single_segment(ids, {}, {}, cpu()))).value;
    };
    CHECK(equal_bits(logits(*copied), logits(*mapped)));
  }
}

TEST_CASE("golden dense: the losses in fp64 to ten digits") {
  const Json all = summary();
  for (const Json& c : all.at("cases").items()) {
    const std::string name = c.at("name").as_string();
    const auto model = load_model(golden + "/checkpoint", {.dtype = Dtype::f64});
    const Trace t = trace_model(*model, read_trace_case(golden + "/case_" + name + ".safetensors", Dtype::f64));
    CHECK(std::abs(t.loss - c.at("loss_fp64").as_double()) < 1e-10 * t.loss);
  }
}

TEST_CASE("golden dense: in fp32 no class is more than twice as far from fp64 as PyTorch's fp32 at its worst") {
  const Json all = summary();
  for (const Json& c : all.at("cases").items()) {
    const std::string name = c.at("name").as_string();
    CAPTURE(name);
    const Json& theirs = c.at("fp32_error_of_pytorch");
    const TraceDifference d = compare_case(name, {});
    CHECK(d.worst("act.") <= 2 * theirs.at("worst_activation")[0].as_double());
    CHECK(d.worst("logits") <= 2 * theirs.at("logits_max_abs_over_max").as_double());
    if (const Json* gradient = theirs.find("worst_gradient")) CHECK(d.worst("grad.") <= 2 * (*gradient)[0].as_double());
  }
}

TEST_CASE("golden dense: Megatron's constants and the released shift of later images, each by its switch") {
  int constants = 0, shifts = 0;
  for (const auto& name : cases()) {
    CAPTURE(name);
    if (holds(name, "megatron_eps.logits") && holds(name, "pixel_values")) {
      ++constants;
      CHECK(compare_case(name, {.dtype = Dtype::f64, .reference = "megatron"}, "megatron_eps.logits").within());
      CHECK_FALSE(compare_case(name, {.dtype = Dtype::f64}, "megatron_eps.logits").within());
    }
    if (holds(name, "hf_shift_bug.logits")) {
      ++shifts;
      CHECK(compare_case(name, {.dtype = Dtype::f64, .hf_shift_bug = true}, "hf_shift_bug.logits").within());
      CHECK(compare_case(name, {.dtype = Dtype::f64}, "hf_shift_bug.logits").worst("logits") > 1e-2);
    }
  }
  CHECK(constants > 0);
  CHECK(shifts > 0);
}

TEST_CASE("golden dense: a checkpoint written and read again has the same bits, and its own head") {
  const auto model = load_model(golden + "/checkpoint");
  CHECK(!model->config().text.tied);
  const ScratchDirectory dir;
  write_model(dir.path(), *model, {702, 700}, 700);
  const auto again = load_model(dir.path());
  CHECK(!again->config().text.tied);
  CHECK(again->parameters().values().to_vector<float>() == model->parameters().values().to_vector<float>());
  again->parameters().values().data<float>()[12345] += 1;  // the twin: one element is noticed
  CHECK(again->parameters().values().to_vector<float>() != model->parameters().values().to_vector<float>());
  CHECK_THROWS_AS(load_model("tests/golden/tokenizer"), Error);
  const ScratchDirectory wide;
  write_model(wide.path(), *load_model(golden + "/checkpoint", {.dtype = Dtype::f64}), {702, 700}, 700);
  CHECK(Json::read(wide / "config.json").at("torch_dtype").as_string() == "float64");
}
