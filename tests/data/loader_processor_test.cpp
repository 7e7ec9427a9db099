#include <doctest/doctest.h>

#include <filesystem>

#include "data/sample/processor.h"
#include "image/decode.h"
#include "tests/data/loader_fixture.h"
#include "tests/golden_case.h"
#include "text/conversation.h"

namespace ov::loader_test {
namespace {

using Ids = std::vector<std::int64_t>;

const std::string checkpoint = "tests/golden/dense/checkpoint";

std::vector<std::string> files_of(const Json& generation) {
  std::vector<std::string> files;
  for (const Json& f : generation.at("files").items()) files.push_back(test::dense_picture(f.as_string()));
  return files;
}

std::vector<std::int64_t> integers(const Json& list) {
  std::vector<std::int64_t> out;
  for (const Json& j : list.items()) out.push_back(j.as_int());
  return out;
}

}  // namespace

TEST_CASE("prompt: the ids of Transformers' processor, id for id, for two, one and no picture") {
  const Processor p = Processor::read(checkpoint);
  const Json generation = Json::read("tests/golden/dense/summary.json").at("generation");
  REQUIRE(generation.size() == 3);
  for (const Json& g : generation.items()) {
    const std::vector<std::string> files = files_of(g);
    const std::string text = g.at("text").as_string();
    const PixelLimits limits{.min_pixels = {}, .max_pixels = g.at("max_pixels").as_int()};
    const Prompt prompt = p.prompt(files, text, limits);
    CHECK(prompt.input_ids == integers(g.at("prompt_ids")));
    REQUIRE(prompt.grids.size() == files.size());
    std::int64_t rows = 0;
    for (std::size_t i = 0; i < files.size(); ++i) {
      const Patches alone = make_patches(read_image(files[i]), p.with_limits(limits).images());
      CHECK(prompt.grids[i] == alone.grid);
      CHECK(same_bits(prompt.pixel_values.slice(0, rows, rows + alone.pixel_values.dim(0)), alone.pixel_values));
      rows += alone.pixel_values.dim(0);
    }
    CHECK((prompt.pixel_values ? prompt.pixel_values.dim(0) : 0) == rows);
    // Twins: other limits and another order of the pictures are other prompts.
    if (!files.empty())
      CHECK(p.prompt(files, text, {.min_pixels = {}, .max_pixels = 5000}).input_ids != prompt.input_ids);
    if (files.size() == 2) CHECK(p.prompt({files[1], files[0]}, text, limits).input_ids != prompt.input_ids);
  }
}

TEST_CASE("processor: what is written is what Transformers wrote, and reads back as the same processor") {
  const ScratchDirectory dir;
  const Processor p = Processor::read(checkpoint);
  p.write(dir.path());
  Json expected = Json::object();  // and what tells AutoProcessor which class it is
  const Json golden = Json::read(checkpoint + "/preprocessor_config.json");
  for (const auto& [key, value] : golden.members()) {
    if (key == "resample") expected.set("processor_class", "Qwen2_5_VLProcessor");
    expected.set(key, value);
  }
  CHECK(Json::read(dir / "preprocessor_config.json").dump() == expected.dump());
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.jinja"})
    CHECK_MESSAGE(!read_file(dir / name).empty(), name);
  const Processor again = Processor::read(dir.path());
  CHECK(again.prompt({"tests/golden/images_fast/rgb.png"}, "Größe?").input_ids ==
        p.prompt({"tests/golden/images_fast/rgb.png"}, "Größe?").input_ids);

  ProcessorConfig other = p.images();
  other.max_pixels = 12345;
  other.std[2] = 0.1;
  Processor(p.tokenizer(), other).write(dir.path());
  CHECK(Processor::read(dir.path()).images().max_pixels == 12345);
  CHECK(Processor::read(dir.path()).images().std == other.std);
}

TEST_CASE("processor: Transformers 5 keeps the image processor in processor_config.json; two that differ are refused") {
  const ScratchDirectory dir;
  const Processor p = Processor::read(checkpoint);
  p.write(dir.path());
  Json images = Json::read(dir / "preprocessor_config.json");
  write_durably(dir / "processor_config.json", Json::object({{"image_processor", images}}).dump());
  CHECK(Processor::read(dir.path()).images() == p.images());
  images.set("max_pixels", 5000);
  write_durably(dir / "processor_config.json", Json::object({{"image_processor", images}}).dump());
  CHECK(contains(message_of([&] { Processor::read(dir.path()); }), "processor_config.json: image_processor differs"));
  std::filesystem::remove(dir / "preprocessor_config.json");
  CHECK(Processor::read(dir.path()).images().max_pixels == 5000);
  images.set("merge_size", -1);
  write_durably(dir / "processor_config.json", Json::object({{"image_processor", images}}).dump());
  CHECK(
      contains(message_of([&] { Processor::read(dir.path()); }), "processor_config.json: image_processor: merge_size"));
  write_durably(dir / "processor_config.json", R"({"processor_class": "Qwen2_5_VLProcessor"})");
  CHECK(contains(message_of([&] { Processor::read(dir.path()); }), "/preprocessor_config.json"));
}

TEST_CASE("prompt: the ids of training up to the answer, with one picture and several, with tags and without") {
  Processor p = small_processor();
  const DataSet d;
  const std::string a = d.png("a.png", 56, 56, 1), b = d.png("b.png", 56, 84, 2);
  const auto trained = [&](const std::string& question, const Ids& image_tokens) {
    const std::vector<Turn> turns = {{"user", question}, {"assistant", "A"}};
    const Encoded e = encode_conversation(p.tokenizer(), turns, image_tokens);
    const auto first = std::find_if(e.labels.begin(), e.labels.end(), [](auto l) { return l != ignored_label; });
    return Ids(e.ids.begin(), e.ids.begin() + (first - e.labels.begin()));
  };
  const Ids one = {4}, two = {4, 6}, none = {};
  CHECK(p.prompt({a}, "Q?").input_ids == trained("<image>\nQ?", one));
  CHECK(p.prompt({a, b}, "Q?").input_ids == trained("<image>\n<image>\nQ?", two));
  CHECK(p.prompt({a}, "\nQ?").input_ids == trained("<image>\nQ?", one));
  CHECK(p.prompt({}, "Q?").input_ids == trained("Q?", none));
  for (const char* tagged : {"<image>\nQ?", "<image>Q?", "see <image>: Q?", "Q?\n<image>"})
    CHECK(p.prompt({a}, tagged).input_ids == trained(tagged, one));
  CHECK(p.prompt({a, b}, "<image> or <image>?").input_ids == trained("<image> or <image>?", two));
  for (const auto& files : {std::vector<std::string>{}, {a, b}})
    CHECK(contains(message_of([&] { p.prompt(files, "<image>Q?"); }), "the prompt holds 1 <image> tag(s), but "));

  // A directory whose template is Qwen's has no line end there, and keeps it so.
  p.line_after_picture = false;
  CHECK(p.prompt({a}, "Q?").input_ids == trained("<image>Q?", one));
  const ScratchDirectory dir;
  p.write(dir.path());
  CHECK(!Processor::read(dir.path()).line_after_picture);
  p.line_after_picture = true;
  p.write(dir.path());
  CHECK(Processor::read(dir.path()).line_after_picture);
  std::filesystem::remove(dir / "chat_template.jinja");
  CHECK(Processor::read(dir.path()).line_after_picture);
  write_durably(dir / "chat_template.json", R"({"chat_template": "{{ messages }}"})");
  CHECK(!Processor::read(dir.path()).line_after_picture);
}

TEST_CASE("processor: a missing file, a damaged picture, an impossible shape and wrong limits are named") {
  const DataSet d;
  const Processor p = small_processor();
  CHECK(contains(message_of([&] { Processor::read("data/tokenizer"); }), "data/tokenizer/preprocessor_config.json"));
  CHECK(contains(message_of([&] { p.prompt({d.path("none.png")}, "q"); }), "none.png"));
  const std::string cut = d.write("cut.png", read_file(d.png("whole.png", 60, 60, 1)).substr(0, 200));
  CHECK(contains(message_of([&] { p.prompt({cut}, "q"); }), "cut.png: "));
  CHECK(contains(message_of([&] { p.prompt({d.png("strip.png", 1, 300, 1)}, "q"); }),
                 "strip.png: smart_resize: 1 x 300"));
  CHECK(contains(message_of([&] { p.with_limits({.min_pixels = 9, .max_pixels = 8}); }), "min_pixels 9, max_pixels 8"));
  CHECK(contains(message_of([&] { p.with_limits({.min_pixels = 0, .max_pixels = {}}); }), "min_pixels 0"));
  CHECK(contains(message_of([&] { p.prompt({}, "see <|image_pad|>"); }), "1 picture placeholder(s), but 0"));
}

}  // namespace ov::loader_test
