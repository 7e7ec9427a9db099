// CLIP against Transformers' CLIPModel (tests/golden/README.md, clip/), its directories, and rules of its own.
#include "model/clip.h"

#include <doctest/doctest.h>

#include <cmath>

#include "audit/diff.h"
#include "audit/trace_clip.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "model/files/clip_directory.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const std::string golden = "tests/golden/clip", checkpoint = golden + "/checkpoint";

// Whatever the folder has: case*.safetensors.
std::vector<std::string> cases() {
  std::vector<std::string> paths;
  for (const std::string& name : list_directory(golden))
    if (name.starts_with("case") && name.ends_with(".safetensors")) paths.push_back(golden + "/" + name);
  REQUIRE_FALSE(paths.empty());
  return paths;
}

Trace traced(const std::string& path, Dtype dtype, const std::string& model = checkpoint) {
  const auto clip = load_clip(model, dtype);
  return trace_clip(*clip, read_clip_case(path, clip->config(), dtype));
}

std::vector<NamedTensor> reference(const std::string& path) {
  const Safetensors file = Safetensors::open(path);
  std::vector<NamedTensor> out;
  for (const auto& e : file.entries())
    if (is_traced(e.name)) out.push_back({e.name, file.tensor(e.name)});
  return out;
}

double largest(const Tensor& t) {
  double m = 0;
  for (const double x : t.to(Dtype::f64).to_vector<double>()) m = std::max(m, std::abs(x));
  return m;
}

std::string refusal(const std::string& directory) {
  try {
    load_clip(directory, Dtype::f32);
  } catch (const Error& e) { return e.what(); }
  return "";
}

// The golden checkpoint's tensors, changed, in a directory with its config.json.
std::string fault_of(const std::function<void(std::vector<NamedTensor>&)>& change) {
  const ScratchDirectory dir;
  std::vector<NamedTensor> tensors;
  const CheckpointReader reader = CheckpointReader::open(checkpoint);
  for (const auto& e : reader.entries()) tensors.push_back({e.name, reader.tensor(e.name)});
  change(tensors);
  write_durably(dir / "config.json", read_file(checkpoint + "/config.json"));
  write_safetensors(dir / "model.safetensors", tensors);
  return refusal(dir.path());
}

}  // namespace

TEST_CASE("golden clip: embeddings, logits, loss and every gradient in fp64 within the rounding of the stored values") {
  for (const std::string& path : cases()) {
    CAPTURE(path);
    const Trace ours = traced(path, Dtype::f64);
    const TraceDifference d = compare_tensors(ours.tensors, reference(path), {}, 1e-7);
    CHECK(d.compared.size() > 20);
    const auto* first = d.first();
    CHECK_MESSAGE(!first, (first ? first->name : ""), " differs by ", first ? first->relative : 0);
    const double loss = Json::read(golden + "/summary.json").at("loss_fp64").as_double();
    CHECK(std::abs(ours.loss - loss) < 1e-10 * loss);
  }
}

TEST_CASE("golden clip: in fp32 no class is more than twice as far from fp64 as PyTorch's fp32 at its worst") {
  const Json summary = Json::read(golden + "/summary.json");
  for (const std::string& path : cases()) {
    CAPTURE(path);
    const auto theirs = reference(path);
    const TraceDifference d = compare_tensors(traced(path, Dtype::f32).tensors, theirs, {}, 1e-7);
    CHECK_FALSE(d.within());  // the twin: fp32 is not fp64
    const Json* limits = summary.find("fp32_error_of_pytorch");
    if (!limits) continue;
    for (const auto& [what, worst] : limits->members())
      if (what != "grad_not_zero") CHECK_MESSAGE(d.worst(what) <= 2 * worst.as_double(), what, " ", d.worst(what));
    // A key's bias moves no softmax: its gradient is rounding, and would hide the others.
    double top = 0, worst = 0;
    for (const NamedTensor& t : theirs)
      if (t.name.starts_with("grad.")) top = std::max(top, largest(t.tensor));
    for (const NamedTensor& t : theirs)
      if (t.name.starts_with("grad.") && largest(t.tensor) >= 1e-6 * top) worst = std::max(worst, d.worst(t.name));
    CHECK(worst <= 2 * limits->at("grad_not_zero").as_double());
  }
}

TEST_CASE("clip: any number of threads gives the same bits") {
  const int before = threads();
  for (const std::string& path : cases()) {
    std::vector<Trace> runs;
    for (const int n : {1, 2, 5}) {
      set_threads(n);
      runs.push_back(traced(path, Dtype::f32));
    }
    for (std::size_t i = 0; i < runs[0].tensors.size(); ++i)
      for (const Trace& t : runs) CHECK(equal_bits(t.tensors[i].tensor, runs[0].tensors[i].tensor));
  }
  set_threads(before);
}

TEST_CASE(
    "clip: a directory written and read again has the same bits and says the same; known extras may stand there") {
  const auto model = load_clip(checkpoint, Dtype::f32);
  const ScratchDirectory dir;
  write_clip(dir.path(), *model);
  CHECK(is_clip(dir.path()));
  const auto again = load_clip(dir.path(), Dtype::f32);
  CHECK(equal_bits(again->parameters().values(), model->parameters().values()));
  const Json before = Json::read(checkpoint + "/config.json"), after = Json::read(dir / "config.json");
  for (const char* part : {"text_config", "vision_config"})
    for (const auto& [key, value] : before.at(part).members())
      CHECK_MESSAGE(after.at(part).at(key).dump() == value.dump(), part, ".", key);
  const CheckpointReader written = CheckpointReader::open(dir.path()), source = CheckpointReader::open(checkpoint);
  for (const auto& e : source.entries()) CHECK(written.has(e.on_disk));

  // The type that is asked for; of a bf16 model otherwise f32, and its masters where it has been trained.
  const ScratchDirectory narrow, wide;
  write_clip(narrow.path(), *model, Dtype::bf16);
  CHECK(Json::read(narrow / "config.json").at("torch_dtype").as_string() == "bfloat16");
  const CheckpointReader rounded = CheckpointReader::open(narrow.path());
  for (const auto& e : rounded.entries()) CHECK(e.dtype == "BF16");
  const auto half = load_clip(checkpoint, Dtype::bf16);
  half->parameters().train([](const Parameter&) { return true; });
  half->parameters().make_masters(0, half->parameters().trained());
  half->parameters().masters().fill(0.1);  // no bf16 number
  write_clip(wide.path(), *half);
  const CheckpointReader masters = CheckpointReader::open(wide.path());
  for (const auto& e : masters.entries()) CHECK(masters.tensor(e.name).to_vector<float>()[0] == 0.1F);

  CHECK(fault_of([](auto& t) {
          for (const char* tower : {"text", "vision"})
            t.push_back({cat(tower, "_model.embeddings.position_ids"), Tensor::of<std::int64_t>({0, 1}, {1, 2})});
        }) == "");
}

TEST_CASE("clip: a missing, misshapen or unknown extra tensor is refused by name") {
  const std::string name = CheckpointReader::open(checkpoint).entries().front().name;
  CHECK(fault_of([](auto& t) { t.erase(t.begin()); }).find("'" + name + "'") != std::string::npos);
  CHECK(fault_of([](auto& t) {
          t[0].tensor = Tensor::of<float>({1, 2, 3}, {3});
        }).find("'" + name + "'") != std::string::npos);
  CHECK(fault_of([](auto& t) {
          t.push_back({"text_model.extra", Tensor::of<float>({1}, {1})});
        }).find("'text_model.extra'") != std::string::npos);
}

TEST_CASE("clip: config.json: class defaults, older files' *_config_dict, and what is not built") {
  const auto read = [](const char* text) { return ClipConfig::read(Json::parse(text, "t"), "config.json"); };
  const ClipConfig whole = read(R"({"model_type": "clip"})");
  CHECK((whole.eos == 49407 && whole.vision.hidden == 768 && whole.text.heads == 8 && whole.projection == 512));
  const ClipConfig older = read(R"({"model_type": "clip", "text_config": {"hidden_size": 32, "eos_token_id": 2},
                                    "text_config_dict": {"hidden_size": 64}})");
  CHECK((older.text.hidden == 64 && older.eos == 49407));  // with the class's defaults, as Transformers takes it
  CHECK(read(R"({"text_config": {"hidden_act": "gelu"}})").text.act == kernels::GeluForm::exact);
  CHECK_THROWS_WITH_AS(
      read(R"({"vision_config": {"hidden_act": "gelu_new"}})"),
      "config.json: vision_config: hidden_act is \"gelu_new\"; only \"quick_gelu\" and \"gelu\" are built", Error);
  CHECK_THROWS_AS(read(R"({"text_config": {"attention_dropout": 0.1}})"), Error);
  CHECK_THROWS_AS(read(R"({"text_config": {"num_attention_heads": 7}})"), Error);
  CHECK_THROWS_AS(read(R"({"model_type": "siglip"})"), Error);
}

TEST_CASE("clip: a text is read at its first eos; with eos 2, as released, at its largest id") {
  const std::vector<std::int64_t> ids = {7, 3, 9, 2, 9, 3};
  CHECK(pooled_token(ids, 3) == 1);
  CHECK(pooled_token(ids, 9) == 2);
  CHECK(pooled_token(ids, 2) == 2);
  CHECK(pooled_token(ids, 50) == 0);  // none: the first, as Transformers takes it
}

TEST_CASE(
    "clip: pixels become a product's rows: channel, row, column of a patch; what a patch does not fill is dropped") {
  std::vector<float> values;
  for (int i = 0; i < 2 * 3 * 5; ++i) values.push_back(static_cast<float>(i));
  const Tensor rows = patch_rows(Tensor::of(values, {1, 2, 3, 5}), 2);
  CHECK(rows.shape() == Shape{2, 8});
  CHECK(rows.to_vector<float>() == std::vector<float>{0, 1, 5, 6, 15, 16, 20, 21, 2, 3, 7, 8, 17, 18, 22, 23});
}

TEST_CASE("clip: ViT-B/32 as OpenAI released it has 151 277 313 parameters in 398 tensors") {
  const Config described = Config::parse(cli::keys(), "pretrain", {"--config", "configs/model/clip-b.json"});
  for (const ClipConfig& c :
       {cli::described_clip(described), ClipConfig::read(Json::parse(R"({"model_type": "clip"})", "t"), "t")}) {
    const ClipModel model(c);
    CHECK(model.parameters().count() == 151277313);
    CHECK(model.parameters().entries().size() == 398);
  }
}

TEST_CASE("trace of a clip model: pairs of the model's size, and nothing that is not read") {
  const ScratchDirectory dir;
  const auto model = load_clip(checkpoint, Dtype::f64);
  const ClipConfig& c = model->config();
  const Tensor pixels = Tensor::zeros({2, c.channels, c.image, c.image}, Dtype::f32, cpu());
  const auto fault = [&](const std::vector<NamedTensor>& tensors) -> std::string {
    write_safetensors(dir / "case.safetensors", tensors);
    try {
      trace_clip(*model, read_clip_case(dir / "case.safetensors", c, Dtype::f64));
    } catch (const Error& e) { return e.what(); }
    return "";
  };
  const Tensor ids = Tensor::of<std::int64_t>({1, 2, 3, 4}, {2, 2});
  CHECK(fault({{"input_ids", ids}, {"pixel_values", pixels}}) == "");
  CHECK(fault({{"input_ids", ids}, {"pixel_values", pixels}, {"labels", ids}}).find("holds labels") !=
        std::string::npos);
  CHECK(fault({{"input_ids", ids}, {"pixel_values", pixels.slice(0, 0, 1)}}).find("a picture for each text") !=
        std::string::npos);
  const Tensor longer = Tensor::of(std::vector<std::int64_t>(static_cast<std::size_t>(2 * c.max_positions + 2), 1),
                                   {2, c.max_positions + 1});
  CHECK(fault({{"input_ids", longer}, {"pixel_values", pixels}}).find(" positions") != std::string::npos);
  CHECK(fault({{"input_ids", Tensor::of<std::int64_t>({1, c.vocabulary}, {2, 1})}, {"pixel_values", pixels}})
            .find("input_ids[1]") != std::string::npos);
}
