#include "generate/generate.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/io/file.h"
#include "data/sample/processor.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/golden_case.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string checkpoint = "tests/golden/dense/checkpoint";

std::vector<std::int64_t> integers(const Json& json) {
  std::vector<std::int64_t> v;
  for (const Json& item : json.items()) v.push_back(item.as_int());
  return v;
}

struct Case {
  explicit Case(const Json& json) : expected(integers(json.at("new_ids"))) {
    std::vector<std::string> files;
    for (const Json& f : json.at("files").items()) files.push_back(dense_picture(f.as_string()));
    prompt = Processor::read(checkpoint)
                 .prompt(files, json.at("text").as_string(),
                         {.min_pixels = {}, .max_pixels = json.at("max_pixels").as_int()});
    CHECK(prompt.input_ids == integers(json.at("prompt_ids")));
    for (const auto& g : prompt.grids) grids.push_back({g[0], g[1], g[2]});
  }
  std::vector<std::int64_t> expected;
  Prompt prompt;
  std::vector<Grid> grids;
};

std::vector<Case> golden_cases() {
  std::vector<Case> cases;
  const Json summary = Json::read("tests/golden/dense/summary.json");
  for (const Json& json : summary.at("generation").items()) cases.emplace_back(json);
  return cases;
}

}  // namespace

TEST_CASE("generate: the reference's answers, token for token, whatever the pictures") {
  const auto model = load_model(checkpoint);
  const auto stop = read_stop_ids(checkpoint, {}, 736);
  CHECK(stop == std::vector<std::int64_t>{702, 700});
  const auto cases = golden_cases();
  REQUIRE(!cases.empty());
  for (const Case& c : cases) {
    const auto ids =
        generate(*model, c.prompt.input_ids, c.prompt.pixel_values, c.grids, {.max_new_tokens = 24, .stop = stop});
    CHECK(ids == c.expected);
  }
}

TEST_CASE("generate: it is the pictures that are answered: other pixels, other answer") {
  const auto model = load_model(checkpoint);
  const Case c = golden_cases()[0];
  const Tensor other = Tensor::zeros(c.prompt.pixel_values.shape(), Dtype::f32, cpu());
  CHECK(generate(*model, c.prompt.input_ids, other, c.grids, {.max_new_tokens = 24}) != c.expected);
}

TEST_CASE("generate: a cached step has the bits of the same row without a cache") {
  const auto model = load_model(checkpoint);
  for (const Case& c : golden_cases()) {
    std::vector<std::int64_t> row = c.prompt.input_ids;
    row.insert(row.end(), c.expected.begin(), c.expected.end());
    const OnevisionInputs whole = single_segment(row, c.prompt.pixel_values, c.grids, cpu());
    const Tensor expected = model->logits(model->hidden(nullptr, whole)).value;

    Generation generation(*model, c.prompt.input_ids, c.prompt.pixel_values, c.grids,
                          static_cast<std::int64_t>(c.expected.size()));
    auto t = static_cast<std::int64_t>(c.prompt.input_ids.size()) - 1;
    CHECK(same_bits(generation.logits(), expected.slice(0, t, t + 1)));
    CHECK(!same_bits(generation.logits(), expected.slice(0, t - 1, t)));  // the twin: another row
    bool all = true;
    for (const std::int64_t id : c.expected) {
      generation.append(id);
      ++t;
      all = all && same_bits(generation.logits(), expected.slice(0, t, t + 1));
    }
    CHECK(all);
  }
}

TEST_CASE("generate: ties go to the lowest id; length, stop ids and the callback end an answer") {
  CHECK(greedy(Tensor::of<float>({1, 3, 2, 3}, {1, 4})) == 1);
  CHECK(greedy(Tensor::of<double>({-1, -1, -2}, {1, 3})) == 0);
  const auto model = load_model(checkpoint);
  const std::vector<std::int64_t> prompt = {1, 2, 3};
  const auto ids = generate(*model, prompt, {}, {}, {.max_new_tokens = 6});
  REQUIRE(ids.size() == 6);
  CHECK(generate(*model, prompt, {}, {}, {.max_new_tokens = 0}).empty());
  const auto stopped = generate(*model, prompt, {}, {}, {.max_new_tokens = 6, .stop = {ids[2]}});
  CHECK(stopped.back() == ids[2]);
  CHECK(stopped.size() <= 3);
  std::vector<std::int64_t> seen;
  generate(*model, prompt, {}, {}, {.max_new_tokens = 6},
           [&](std::int64_t id) { return seen.push_back(id), seen.size() < 2; });
  CHECK(seen == std::vector<std::int64_t>{ids[0], ids[1]});
}

TEST_CASE("generate: a placeholder that the model itself writes is text; one in the prompt needs a picture") {
  const auto model = load_model(checkpoint);
  const std::int64_t placeholder = model->config().image_token;
  Generation generation(*model, {1, 2}, {}, {}, 2);
  generation.append(placeholder);
  generation.append(5);
  CHECK_THROWS_AS(generation.append(5), Error);  // no room was reserved
  CHECK_THROWS_WITH_AS(generate(*model, {1, placeholder}, {}, {}, {}),
                       "input_ids holds 1 image placeholders, the pictures have 0 tokens", Error);
  CHECK_THROWS_WITH_AS(generate(*model, {}, {}, {}, {}), "generate: the prompt has no tokens", Error);
  for (const std::int64_t tokens : {(std::int64_t{1} << 62) + 1, INT64_MAX})  // no size wraps round
    CHECK_THROWS_AS(generate(*model, {1}, {}, {}, {.max_new_tokens = tokens}), Error);
  CHECK_THROWS_WITH_AS(generate(*model, {736}, {}, {}, {}), "generate: id 736 where the vocabulary has 736 rows",
                       Error);
}

TEST_CASE("generate: logits that are no numbers end it, with the parameter that is none") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const auto model = load_model(checkpoint);
    model->parameters().find("model.language_model.norm.weight")->value.data<float>()[5] = bad;
    try {
      generate(*model, {1, 2}, {}, {}, {.max_new_tokens = 4});
      FAIL("an answer was given");
    } catch (const Error& e) {
      CHECK(e.exit() == Exit::machine_failed);
      CHECK(std::string(e.what()) ==
            "generate: the logits after token 2 are not finite numbers; neither is the "
            "parameter model.language_model.norm.weight");
    }
  }
  // Finite weights whose products are not.
  const auto model = load_model(checkpoint);
  for (const char* name : {"model.language_model.norm.weight", "lm_head.weight"}) {
    const Tensor& w = model->parameters().find(name)->value;
    for (std::int64_t i = 0; i < w.numel(); ++i) w.data<float>()[i] = 1e38f;
  }
  CHECK_THROWS_WITH_AS(generate(*model, {1, 2}, {}, {}, {.max_new_tokens = 4}),
                       doctest::Contains("though every parameter is"), Error);
}

TEST_CASE("generate: more tokens than the model has positions are refused before room is made for them") {
  const auto model = load_model(checkpoint);  // 4096
  for (const std::int64_t n : {std::int64_t{4095}, std::int64_t{4611686018427387905}, std::int64_t{INT64_MAX}})
    CHECK_THROWS_WITH_AS(generate(*model, {1, 2}, {}, {}, {.max_new_tokens = n}),
                         doctest::Contains("max_position_embeddings of config.json is 4096"), Error);
  CHECK(generate(*model, {1, 2}, {}, {}, {.max_new_tokens = 4094, .stop = {}}, [](std::int64_t) {
          return false;
        }).size() == 1);
}

TEST_CASE("generate: stop ids are a number or a list; the tokenizer's stand in, and their absence is an error") {
  const ScratchDirectory dir;
  const auto stop = [&](const std::string& content, const std::vector<std::int64_t>& otherwise = {}) {
    write_durably(dir / "generation_config.json", content);
    return read_stop_ids(dir.path(), otherwise, 10);
  };
  CHECK(stop(R"({"eos_token_id": 3})") == std::vector<std::int64_t>{3});
  CHECK(stop(R"({"eos_token_id": [3, 4], "pad_token_id": 3})") == std::vector<std::int64_t>{3, 4});
  CHECK(stop(R"({"eos_token_id": null, "pad_token_id": 9})") == std::vector<std::int64_t>{9});
  CHECK_THROWS_AS(stop("{}"), Error);
  CHECK(stop("{}", {7, 8}) == std::vector<std::int64_t>{7, 8});
  for (const char* bad : {R"("<end>")", "10", "-1", "[3, 10]", "[3, null]", "2.5", "true", "[[3]]"})
    CHECK_THROWS_WITH_AS(stop(cat(R"({"eos_token_id": )", bad, "}"), {7}),
                         doctest::Contains("generation_config.json: eos_token_id: expected ids from 0 to 9"), Error);
  CHECK_THROWS_WITH_AS(stop("[]", {7}), doctest::Contains("expected an object"), Error);
  write_durably(dir / "generation_config.json", "{}");
  write_durably(dir / "config.json", R"({"eos_token_id": [5, 6]})");
  CHECK(read_stop_ids(dir.path(), {7}, 10) == std::vector<std::int64_t>{5, 6});
  std::filesystem::remove(dir / "generation_config.json");
  CHECK(read_stop_ids(dir.path(), {7}, 10) == std::vector<std::int64_t>{5, 6});
  std::filesystem::remove(dir / "config.json");
  CHECK(read_stop_ids(dir.path(), {7}, 10) == std::vector<std::int64_t>{7});
}
