#include "audit/inspect.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "base/error.h"
#include "base/sha256.h"
#include "model/region_head.h"
#include "store/hf_weights.h"
#include "store/jsonl.h"
#include "store/safetensors.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

std::string golden_checkpoint(const ScratchDirectory& dir) {
  const std::string copy = dir / "checkpoint";
  std::filesystem::copy("tests/golden/dense/checkpoint", copy);
  return copy;
}

void replace_in(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  write_durably(path, text.replace(at, from.size(), to));
}

}  // namespace

TEST_CASE("inspect tokens: the reference's strings give the reference's ids, line for line") {
  const ScratchDirectory dir;
  const Json cases = Json::read("tests/golden/tokenizer/tokenizer_cases.json");
  std::string texts;
  for (const Json& c : cases.items()) texts += Json::object({{"text", c.at("text")}}).dump() + "\n";
  write_durably(dir / "in.jsonl", texts);
  CHECK(inspect_tokens("tests/golden/tokenizer", dir / "in.jsonl", dir / "out.jsonl") ==
        static_cast<std::int64_t>(cases.size()));
  JsonlReader out(dir / "out.jsonl");
  for (const Json& c : cases.items()) {
    Json line;
    REQUIRE(out.next(&line));
    CHECK(line.at("ids").dump() == c.at("ids").dump());
  }
  Json beyond;
  CHECK(!out.next(&beyond));
}

TEST_CASE("inspect tokens: a line without a text is named, and nothing is written") {
  const ScratchDirectory dir;
  write_durably(dir / "in.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
  CHECK_THROWS_WITH_AS(
      inspect_tokens("data/tokenizer", dir / "in.jsonl", dir / "out.jsonl"),
      cat(dir / "in.jsonl", ":2: expected an object with a string \"text\", got {\"txt\":\"b\"}").c_str(), Error);
  CHECK(!std::filesystem::exists(dir / "out.jsonl"));
}

TEST_CASE("inspect image: the file holds the reference's patches and grid") {
  const ScratchDirectory dir;
  std::int64_t seen = 0;
  const Json all = Json::read("tests/golden/images/cases.json");
  for (const Json& c : all.at("cases").items()) {
    if (c.at("rows").as_int() > 400) continue;  // large ones: tests/image
    ProcessorConfig config;
    config.min_pixels = c.at("min_pixels").as_int();
    config.max_pixels = c.at("max_pixels").as_int();
    inspect_image("tests/golden/images/" + c.at("file").as_string(), config, dir / "p.safetensors");
    const Safetensors file = Safetensors::open(dir / "p.safetensors");
    const auto grid = file.tensor("image_grid_thw").to_vector<std::int64_t>();
    CHECK(Json(grid).dump() == c.at("grid_thw").dump());
    CHECK(file.tensor("image_grid_thw").shape() == Shape{1, 3});
    const Tensor pixels = file.tensor("pixel_values");
    CHECK(sha256({reinterpret_cast<const char*>(pixels.bytes()), pixels.nbytes()}) ==
          c.at("pixel_values_f32_le_sha256").as_string());
    ++seen;
  }
  CHECK(seen > 10);
  ProcessorConfig wrong;
  wrong.max_pixels = 10;
  CHECK_THROWS_AS(inspect_image("tests/golden/images_fast/tiny.png", wrong, dir / "p.safetensors"), Error);
}

TEST_CASE("inspect checkpoint: names, sizes and totals of a sound one, and no problems") {
  const CheckpointReport report = inspect_checkpoint("tests/golden/dense/checkpoint");
  CHECK(report.problems.empty());
  CHECK(report.tensors.size() == 83);
  CHECK(report.parameters == 613664);
  CHECK(report.bytes == 4 * 613664);
  CHECK(!report.tied);
  CHECK(report.text().find("model.visual.merger.mlp.0.weight") != std::string::npos);
  CHECK(report.text().find("0 problems against config.json") != std::string::npos);
}

TEST_CASE("inspect checkpoint: what is missing, extra or misshapen is listed by name") {
  const ScratchDirectory dir;
  const std::string copy = golden_checkpoint(dir);
  replace_in(copy + "/config.json", "\"depth\": 3", "\"depth\": 2");
  CheckpointReport report = inspect_checkpoint(copy);
  CHECK(report.problems.size() == 12);  // a block of the tower
  CHECK(report.problems[0].find("blocks.2.") != std::string::npos);
  replace_in(copy + "/config.json", "\"depth\": 2", "\"depth\": 4");
  report = inspect_checkpoint(copy);
  CHECK(report.problems.size() == 12);
  CHECK(report.problems[0].find("blocks.3.") != std::string::npos);
  replace_in(copy + "/config.json", "\"depth\": 4", "\"depth\": 3");
  replace_in(copy + "/config.json", "\"intermediate_size\": 160", "\"intermediate_size\": 161");
  report = inspect_checkpoint(copy);
  CHECK(report.problems.size() == 9);  // gate, up and down of three layers
  CHECK(report.problems[0].find("[161, 96]") != std::string::npos);
}

TEST_CASE("inspect checkpoint: one that cannot be read is an error") {
  const ScratchDirectory dir;
  const std::string copy = golden_checkpoint(dir);
  std::filesystem::remove(copy + "/model-00002-of-00002.safetensors");
  CHECK_THROWS_AS(inspect_checkpoint(copy), Error);
  std::filesystem::remove(copy + "/config.json");
  CHECK_THROWS_AS(inspect_checkpoint(copy), Error);
}

TEST_CASE("inspect checkpoint: CLIP and a tower by itself are held against their own config.json") {
  CheckpointReport report = inspect_checkpoint("tests/golden/clip/checkpoint");
  CHECK(report.problems.empty());
  CHECK(report.tensors.size() == CheckpointReader::open("tests/golden/clip/checkpoint").entries().size());
  const ScratchDirectory scratch;
  RiceModel model({.depth = 1, .hidden = 16, .heads = 2, .intermediate = 32}, {.layers = 1, .classes = 3});
  model.parameters().allocate(Dtype::f32, cpu());
  model.parameters().values().fill(0.5);
  export_tower(scratch / "tower", model);
  CHECK(inspect_checkpoint(scratch / "tower").problems.empty());
  Json config = Json::read(scratch / "tower/config.json");
  Json vision = config.at("vision_config");
  vision.set("depth", 2);
  config.set("vision_config", vision);
  write_durably(scratch / "tower/config.json", config.dump());
  report = inspect_checkpoint(scratch / "tower");
  REQUIRE_FALSE(report.problems.empty());
  CHECK(report.problems[0].find("model.visual.blocks.1.") != std::string::npos);
}
