#include "model/files/convert.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "audit/inspect.h"
#include "base/error.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const std::string original = "tests/golden/dense/checkpoint";

bool differ(const std::string& a, const std::string& b, std::string* report = nullptr) {
  std::string text;
  const bool same = diff_weights(a, b, text);
  if (report) *report = text;
  return !same;
}

}  // namespace

TEST_CASE("convert: other shards, and bf16 and back, keep every value that the type can hold") {
  const ScratchDirectory dir;
  convert_model(original, dir / "shards", {.max_shard_bytes = 50'000});
  CHECK(CheckpointReader::open(dir / "shards").shards().size() > 2);
  CHECK_FALSE(differ(original, dir / "shards"));
  CHECK(inspect_checkpoint(dir / "shards").problems.empty());
  for (const auto& file : std::filesystem::directory_iterator(original))
    if (const std::string name = file.path().filename(); name.find("safetensors") == std::string::npos)
      CHECK_MESSAGE(read_file(dir / ("shards/" + name)).size() > 0, name);
  CHECK(read_file(dir / "shards/tokenizer.json") == read_file(original + "/tokenizer.json"));

  convert_model(original, dir / "bf16", {.dtype = Dtype::bf16});
  CHECK(Json::read(dir / "bf16/config.json").at("torch_dtype").as_string() == "bfloat16");
  const CheckpointReader rounded = CheckpointReader::open(dir / "bf16");
  for (const auto& e : rounded.entries()) CHECK(e.dtype == "BF16");
  std::string report;
  CHECK(differ(original, dir / "bf16", &report));
  CHECK(report.find("differs by at most") != std::string::npos);
  convert_model(dir / "bf16", dir / "wide", {.dtype = Dtype::f32});
  CHECK_FALSE(differ(dir / "bf16", dir / "wide"));
  convert_model(dir / "wide", dir / "narrow", {.dtype = Dtype::bf16});
  CHECK(read_file(dir / "narrow/model.safetensors") == read_file(dir / "bf16/model.safetensors"));
}

TEST_CASE("convert: config.json keeps what it says, and a tied model gets a head when asked") {
  const ScratchDirectory dir;
  std::filesystem::copy(original, dir / "tied");
  Json config = Json::read(dir / "tied/config.json");
  config.set("unknown_to_us", Json::object({{"kept", 7}}));
  config.set("tie_word_embeddings", true);
  Json text = config.at("text_config");
  text.set("tie_word_embeddings", true);
  config.set("text_config", text);
  write_durably(dir / "tied/config.json", config.dump(2));
  // Without its head.
  const CheckpointReader weights = CheckpointReader::open(original);
  std::vector<NamedTensor> tensors;
  for (const auto& e : weights.entries())
    if (e.name != "lm_head.weight") tensors.push_back({e.name, weights.tensor(e.name)});
  for (const std::string& file : list_directory(dir / "tied"))
    if (file.find("safetensors") != std::string::npos) std::filesystem::remove(dir / ("tied/" + file));
  write_checkpoint(dir / "tied", tensors);

  convert_model(dir / "tied", dir / "untied", {.untied_head = true});
  const CheckpointReader untied = CheckpointReader::open(dir / "untied");
  CHECK(equal_bits(untied.tensor("lm_head.weight"), untied.tensor("model.language_model.embed_tokens.weight")));
  const Json written = Json::read(dir / "untied/config.json");
  CHECK(written.at("unknown_to_us").at("kept").as_int() == 7);
  CHECK_FALSE(written.at("tie_word_embeddings").as_bool());
  CHECK_FALSE(written.at("text_config").at("tie_word_embeddings").as_bool());
  CHECK_FALSE(read_model_config(dir / "untied").text.tied);
  CHECK(inspect_checkpoint(dir / "untied").problems.empty());
  std::string report;
  CHECK(differ(dir / "tied", dir / "untied", &report));
  CHECK(report.find("lm_head.weight: only in " + (dir / "untied")) != std::string::npos);
}

TEST_CASE("convert: config.json says float32 where halves are written as they are read") {
  const ScratchDirectory dir;
  std::filesystem::copy(original, dir / "half");
  Json config = Json::read(dir / "half/config.json");
  config.set("torch_dtype", "float16");
  write_durably(dir / "half/config.json", config.dump(2));
  convert_model(dir / "half", dir / "same", {});  // the twin: no weight is a half
  CHECK(Json::read(dir / "same/config.json").at("torch_dtype").as_string() == "float16");
  // Two halves, 1 and -2, for a tensor of two.
  for (const std::string& file : list_directory(dir / "half"))
    if (file.find("safetensors") != std::string::npos) std::filesystem::remove(dir / ("half/" + file));
  const std::string header = R"({"model.norm.weight":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_durably(dir / "half/model.safetensors", bytes + header + std::string("\x00\x3c\x00\xc0", 4));
  convert_model(dir / "half", dir / "wide", {});
  CHECK(Json::read(dir / "wide/config.json").at("torch_dtype").as_string() == "float32");
  const CheckpointReader wide = CheckpointReader::open(dir / "wide");
  CHECK(wide.entries().at(0).dtype == "F32");
  CHECK(wide.tensor(wide.entries().at(0).name).to_vector<float>() == std::vector<float>{1, -2});
}

TEST_CASE("convert: only a directory of its own is replaced, and a type that is no number is refused by name") {
  const ScratchDirectory dir;
  std::filesystem::copy(original, dir / "mine");
  CHECK_THROWS_AS(convert_model(original, dir / "mine", {}), Error);
  CHECK_FALSE(differ(original, dir / "mine"));
  convert_model(original, dir / "out", {});
  convert_model(original, dir / "out", {.dtype = Dtype::bf16});
  CHECK(CheckpointReader::open(dir / "out").entries()[0].dtype == "BF16");
}
