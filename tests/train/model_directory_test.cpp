// What belongs together in a model's directory, compared when it is opened; and what an export carries along.
#include "train/stages/model_directory.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "audit/inspect.h"
#include "base/io/file.h"
#include "tests/base/scratch.h"
#include "tests/data/loader_fixture.h"
#include "tests/train/training_run.h"
#include "train/stages/job.h"

using namespace ov;
using namespace ov::test;

namespace {

namespace fs = std::filesystem;

// A sound directory that a test may spoil.
struct Model {
  explicit Model(bool untied_head = false) {
    export_model(path, *random_model(byte_config()), loader_test::small_processor(), {.untied_head = untied_head});
  }
  void set(const std::string& file, const std::string& key, const Json& value) const {
    Json json = Json::read(path + "/" + file);
    const auto dot = key.find('.');
    if (dot == key.npos) json.set(key, value);
    else {
      Json part = json.at(key.substr(0, dot));
      part.set(key.substr(dot + 1), value);
      json.set(key.substr(0, dot), part);
    }
    write_durably(path + "/" + file, json.dump());
  }
  std::string opening() const {
    return thrown([&] { open_model_files(path); });
  }
  ScratchDirectory dir;
  std::string path = dir / "model";
};

}  // namespace

TEST_CASE("a model's directory: config, processor and tokenizer that contradict each other are named, in inspect too") {
  CHECK(Model().opening().empty());
  CHECK(inspect_checkpoint(Model().path).problems.empty());
  const auto with = [](const char* file, const char* key, const Json& value, const std::string& part) {
    const Model m;
    m.set(file, key, value);
    const std::string said = m.opening();
    CHECK_MESSAGE(contains(said, m.path + "/config.json: "), said);
    CHECK_MESSAGE(contains(said, part), said);
    CHECK(inspect_checkpoint(m.path).problems == std::vector<std::string>{said});
  };
  with("preprocessor_config.json", "patch_size", 16,
       "vision_config.patch_size is 14, the image processor's patch_size (preprocessor_config.json) 16");
  with("preprocessor_config.json", "merge_size", 1,
       "vision_config.spatial_merge_size is 2, the image processor's merge_size (preprocessor_config.json) 1");
  with("config.json", "image_token_id", 270, "image_token_id is 270, the tokenizer's <|image_pad|> 268");
  with("config.json", "video_token_id", 270, "video_token_id is 270, the tokenizer's <|video_pad|> 269");
  with("config.json", "vision_start_token_id", 1, "vision_start_token_id is 1, the tokenizer's <|vision_start|> 265");

  const Model two;
  two.set("preprocessor_config.json", "patch_size", 16);
  two.set("config.json", "image_token_id", 5);
  CHECK(contains(two.opening(), "(and 1 more like it)"));
  const Model none;
  fs::remove(none.path + "/preprocessor_config.json");
  CHECK(contains(none.opening(), "preprocessor_config.json"));
  CHECK(inspect_checkpoint(none.path).problems.size() == 1);
}

TEST_CASE("a model's directory: fewer rows than the tokenizer has tokens are named") {
  const Model m;
  ModelConfig c = byte_config();
  c.text.vocabulary = 270;
  const auto faults = directory_faults("d", c, Processor::read(m.path));
  CHECK(faults ==
        std::vector<std::string>{"d/config.json: text_config.vocab_size is 270, the tokenizer has 278 tokens"});
}

TEST_CASE("inspect checkpoint: NaN and infinities in the weights are problems") {
  const Model m;
  for (const float bad : {NAN, INFINITY}) {
    auto model = random_model(byte_config());
    model->parameters().find("model.language_model.norm.weight")->value.data<float>()[5] = bad;
    const std::string out = m.dir / (std::isnan(bad) ? "nan" : "inf");
    export_model(out, *model, loader_test::small_processor());
    const auto problems = inspect_checkpoint(out).problems;
    REQUIRE(problems.size() == 1);
    CHECK(contains(problems[0], std::isnan(bad) ? "'model.norm.weight': element 5 is nan" : "element 5 is inf"));
  }
}

TEST_CASE("a tied model with a head in its weights: the embedding's copy is no head, any other is refused (M-12)") {
  const Model m(true);  // a head of its own, the same bits
  CHECK(Json::read(m.path + "/config.json").at("tie_word_embeddings").as_bool() == false);
  const auto untied = load_model(m.path);
  CHECK(!untied->config().text.tied);
  const Tensor head = untied->parameters().find("lm_head.weight")->value;
  const Tensor embedding = untied->parameters().find("model.language_model.embed_tokens.weight")->value;
  CHECK(head.bytes() != embedding.bytes());
  CHECK(head.to_vector<float>() == embedding.to_vector<float>());

  m.set("config.json", "text_config.tie_word_embeddings", true);
  CHECK(load_model(m.path)->config().text.tied);
  CHECK(inspect_checkpoint(m.path).problems.empty());

  head.data<float>()[7] *= 2;
  Model other;
  other.path = other.dir / "other";
  export_model(other.path, *untied, loader_test::small_processor());
  CHECK(!load_model(other.path)->config().text.tied);
  other.set("config.json", "text_config.tie_word_embeddings", true);
  CHECK(contains(thrown([&] { load_model(other.path); }),
                 "config.json: text_config: tie_word_embeddings is true, but lm_head"));
  CHECK(inspect_checkpoint(other.path).problems.size() == 1);

  // Without a head in the file there is nothing to tie to but the embedding.
  const Model tied;
  tied.set("config.json", "text_config.tie_word_embeddings", false);
  CHECK(load_model(tied.path)->config().text.tied);
}

TEST_CASE("an export carries the code of the model that it came from, and the keys that mean nothing here") {
  const Model m;
  const Json map = Json::object({{"AutoConfig", "configuration_x.X"}});
  m.set("config.json", "auto_map", map);
  CHECK(!read_config_json(m.path).find("auto_map"));  // the code is not there
  m.set("config.json", "auto_map", Json::object({{"AutoConfig", "who/repo--configuration_x.X"}}));
  CHECK(read_config_json(m.path).find("auto_map"));
  m.set("config.json", "auto_map", map);
  m.set("config.json", "text_config.made_up", 7);
  write_durably(m.path + "/configuration_x.py", "class X: pass\n");
  write_durably(m.path + "/notes.txt", "mine");

  const ModelFiles files = open_model_files(m.path);
  const std::string out = m.dir / "out";
  export_model(out, *load_model(files.config, m.path), files.processor, {.code = {m.path, ""}});
  const Json config = Json::read(out + "/config.json");
  CHECK(config.at("auto_map").dump() == map.dump());
  CHECK(config.at("text_config").at("made_up").as_int() == 7);
  CHECK(read_file(out + "/configuration_x.py") == "class X: pass\n");
  CHECK(!fs::exists(out + "/notes.txt"));
}
