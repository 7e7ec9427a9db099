// The toy world as files: the same bytes for any number of threads, readable by others, damaged data files refused.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/parallel.h"
#include "data/synth/write.h"
#include "image/decode.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/data/directory_contents.h"

using namespace ov;
using namespace ov::synth;
namespace fs = std::filesystem;

namespace {

std::string fresh_path(const std::string& name) {
  static const ScratchDirectory scratch;
  fs::remove_all(scratch / name);
  return scratch / name;
}

ToyWorldOptions small(const std::string& out) {
  return {.out_dir = out, .instruct = 40, .captions = 25, .regions = 20, .text = 30, .test = 6, .shard_size = 10};
}

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> lines;
  const std::string text = read_file(path);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(Json::parse(std::string_view(text).substr(at, end - at), path));
    at = end + 1;
  }
  return lines;
}

// One world for all the tests that only read.
const std::string& written() {
  static const std::string path = [] {
    const std::string p = fresh_path("world");
    write_toy_world(small(p));
    return p;
  }();
  return path;
}

// A copy of the data files in which `from` became `to`.
std::string damaged(const std::string& file, const std::string& from, const std::string& to) {
  const std::string dir = fresh_path("data");
  fs::copy("data/toy_world", dir);
  std::string text = read_file(dir + "/" + file);
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
  fs::remove(dir + "/" + file);
  write_durably(dir + "/" + file, text);
  return dir;
}

std::string message_of(const std::string& data_dir) {
  ToyWorldOptions options = small(fresh_path("refused"));
  options.data_dir = data_dir;
  try {
    write_toy_world(options);
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    CHECK(!fs::exists(options.out_dir));
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("toy world files: the same bytes with one thread and with three, other bytes for another seed") {
  const int before = threads();
  set_threads(3);
  const std::string again = fresh_path("again"), other = fresh_path("other");
  write_toy_world(small(again));
  ToyWorldOptions options = small(other);
  options.seed = 2;
  write_toy_world(options);
  set_threads(1);
  const std::string serial = fresh_path("serial");
  write_toy_world(small(serial));
  set_threads(before);
  const auto expected = test::directory_contents(serial);
  CHECK(expected.size() > 100);
  CHECK(expected == test::directory_contents(again));
  CHECK(expected.at("instruct/conversations.json") !=
        test::directory_contents(other).at("instruct/conversations.json"));
}

TEST_CASE("toy world files: conversations name pictures that open, half of them JPEG") {
  const Json all = Json::read(written() + "/instruct/conversations.json");
  REQUIRE(all.size() == 40);
  std::set<std::string> ids;
  int jpeg = 0;
  for (const Json& sample : all.items()) {
    CHECK(ids.insert(sample.at("id").as_string()).second);
    const std::string name = sample.at("image").as_string();
    jpeg += name.ends_with(".jpg");
    const Image image = read_image(written() + "/instruct/" + name);
    CHECK((image.width >= 84 && image.width <= 140 && image.height >= 28 && image.height <= 112));
    const auto& turns = sample.at("conversations").items();
    CHECK(turns.size() == 2 * sample.at("templates").size());
    CHECK(turns[0].at("value").as_string().substr(0, 8) == "<image>\n");
  }
  CHECK(jpeg == 20);
}

TEST_CASE("toy world files: shards are what tar lists and what the index and the metadata say") {
  const std::string dir = written() + "/captions/";
  std::size_t members = 0;
  for (int shard = 0; shard < 3; ++shard) {
    const std::string name = "captions-00000" + std::to_string(shard) + ".tar", listing = fresh_path("listing");
    REQUIRE(std::system(("tar tf " + dir + name + " > " + listing).c_str()) == 0);
    const std::string lines = read_file(listing);
    members += static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n'));

    const std::string tar = read_file(dir + name), index = read_file(dir + name + ".idx");
    const std::size_t samples = index.size() / 8 - 1;
    CHECK(samples == (shard < 2 ? 10 : 5));
    for (std::size_t i = 0; i <= samples; ++i) {
      std::uint64_t offset = 0;
      for (std::size_t byte = 8; byte-- > 0;) offset = offset << 8 | static_cast<unsigned char>(index[8 * i + byte]);
      if (i == samples) CHECK(tar.substr(offset) == std::string(1024, '\0'));
      else CHECK(tar.substr(offset).rfind("image_" + std::to_string(10 * shard + static_cast<int>(i)) + ".0_", 0) == 0);
    }
    CHECK(read_file(dir + ".nv-meta/.info.yaml").find(name + ": " + std::to_string(samples) + "\n") !=
          std::string::npos);
    CHECK(read_file(dir + ".nv-meta/split.yaml").find("  - " + name + "\n") != std::string::npos);
  }
  CHECK(members == 50);
  CHECK(!fs::exists(dir + "captions-000003.tar"));

  const std::string out = fresh_path("extracted");
  fs::create_directory(out);
  REQUIRE(std::system(("tar xf " + dir + "captions-000001.tar -C " + out).c_str()) == 0);
  const Json record = Json::read(out + "/image_13.json");
  CHECK(record.at("media").as_string() == "image");
  const auto& texts = record.at("texts").items();
  CHECK(texts[0].at("role").as_string() == "user");
  CHECK(texts[0].at("content").as_string().substr(0, 8) == "<image>\n");
  CHECK(read_image(out + "/image_13." + record.at("name")[0].as_string()).width > 0);
}

TEST_CASE("toy world files: region boxes lie inside their pictures") {
  const auto lines = read_lines(written() + "/regions/regions.jsonl");
  REQUIRE(lines.size() == 20);
  std::size_t objects = 0, texts = 0;
  for (const Json& line : lines) {
    const ImageSize size = read_image_size(written() + "/regions/" + line.at("image").as_string());
    const auto check = [&](const Json& region, const char* label) {
      const Json& b = region.at("box");
      REQUIRE(b.size() == 4);
      CHECK((0 <= b[0].as_int() && b[0].as_int() < b[2].as_int() && b[2].as_int() <= size.width));
      CHECK((0 <= b[1].as_int() && b[1].as_int() < b[3].as_int() && b[3].as_int() <= size.height));
      CHECK(!region.at(label).as_string().empty());
    };
    for (const Json& r : line.at("objects").items()) check(r, "class");
    for (const Json& r : line.at("ocr").items()) check(r, "text");
    objects += line.at("objects").size();
    texts += line.at("ocr").size();
  }
  CHECK(objects > 0);
  CHECK(texts > 0);
}

TEST_CASE("toy world files: eight held-out sets with scorers, and the commonest answers beside them") {
  std::set<std::string> pictures;
  const Json commonest = Json::read(written() + "/test/commonest_answers.json");
  for (const char* category : {"Caption", "Chart & Table", "Code & Math", "Domain-specific", "General VQA",
                               "Grounding & Counting", "OCR", "Science"}) {
    const auto lines = read_lines(written() + "/test/" + file_stem(category) + ".jsonl");
    CHECK(lines.size() == 6);
    for (const Json& q : lines) {
      CHECK(q.at("category").as_string() == category);
      for (const char* key : {"id", "template", "question", "answer", "scorer"}) CHECK(!q.at(key).as_string().empty());
      CHECK(pictures.insert(q.at("image").as_string()).second);
      CHECK(read_image(written() + "/test/" + q.at("image").as_string()).height > 0);
    }
  }
  for (const auto& [id, entry] : commonest.members()) CHECK(entry.at("n").as_int() <= entry.at("of").as_int());
  CHECK(commonest.at("caption").at("of").as_int() > 0);
  for (const char* category : {"Reasoning", "Reasoning, thinking"}) {
    CHECK(!fs::exists(written() + "/test/" + file_stem(category) + ".jsonl"));
    const auto lines = read_lines(written() + "/reasoning/" + file_stem(category) + ".jsonl");
    CHECK(lines.size() == 6);
    for (const Json& q : lines) {
      CHECK(q.at("question").as_string().starts_with("think : ") == (category[9] == ','));
      CHECK(read_image(written() + "/reasoning/" + q.at("image").as_string()).height == 84);
    }
  }
  CHECK(Json::read(written() + "/reasoning/commonest_answers.json").dump() == commonest.dump());
  CHECK(read_lines(written() + "/text/corpus.jsonl").size() == 30);
  CHECK(Json::read(written() + "/world.json").at("shared_descriptions").size() == 2);
}

TEST_CASE(
    "toy world files: killed at every step, the world is whole or absent, and drawing again gives the same bytes") {
  ToyWorldOptions options = small(fresh_path("killed"));
  options.instruct = options.captions = options.regions = options.text = options.test = 1;
  const int before = threads();
  set_threads(1);  // a forked child has no worker threads
  write_toy_world(options);
  const auto expected = test::directory_contents(options.out_dir);
  int absent = 0, whole = 0;
  const int kills = kill_at_every_step(
      [&] {
        for (const char* suffix : {"", ".partial"}) fs::remove_all(options.out_dir + suffix);
      },
      [&] { write_toy_world(options); },
      [&](const std::string& where) {
        DurableDirectory::recover(options.out_dir);
        if (!fs::exists(options.out_dir)) ++absent;
        else if (test::directory_contents(options.out_dir) == expected) ++whole;
        else FAIL_CHECK(where);
      });
  set_threads(before);
  CHECK(absent > 20);
  CHECK(whole > 0);
  CHECK(absent + whole == kills);
  CHECK(test::directory_contents(options.out_dir) == expected);
}

TEST_CASE("toy world files: damaged data files are refused by file and entry, and nothing is written") {
  CHECK(message_of(damaged("templates.json", R"("category": "OCR", "scorer")", R"("category": "OCT", "scorer")"))
            .find("template 'read': unknown category 'OCT'; did you mean 'OCR'?") != std::string::npos);
  CHECK(message_of(damaged("templates.json", R"("id": "t_color_of")", R"("id": "t_color")"))
            .find("template 't_color' stands twice") != std::string::npos);
  CHECK(message_of(damaged("templates.json", R"("{value}"], "zh": ["{color} 柱)", R"("{price}"], "zh": ["{color} 柱)"))
            .find("nothing to put into '{price}'") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("shapes": 600)", R"("shape": 600)"))
            .find("mixture 'default': unknown family 'shape'; did you mean 'shapes'?") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("held_out_percent": 15)", R"("held_out_percent": 0)"))
            .find("has no description for the test split") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("mixture": "learned_last")", R"("mixture": "learned_lost")"))
            .find("no mixture 'learned_lost'; did you mean 'learned_last'?") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("one_in": 6)", R"("one_in": 0)"))
            .find("interspersed 'default': one_in: expected at least 1, found 0") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("think_first": {"ask": 88})", R"("think_frist": {"ask": 88})"))
            .find("asked 'rl_prompts': no template 'think_frist'; did you mean 'think_first'?") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("think_first": {"ask": 88})", R"("think_first": {"asks": 88})"))
            .find("template 'think_first': 'asks' is not asked otherwise; did you mean 'ask'?") != std::string::npos);
  CHECK(message_of(damaged("mixtures.json", R"("rl_prompts": {"think")", R"("rl_prompt": {"think")"))
            .find("no mixture 'rl_prompt'; did you mean 'rl_prompts'?") != std::string::npos);
  const auto asked = [&](const char* otherwise, const char* what) {
    const std::string said = message_of(damaged("mixtures.json", R"("rl_chains": {"caption": {"ask": 0}})", otherwise));
    CHECK_MESSAGE(said.find(cat("mixtures.json: asked 'rl_chains': ", what)) != std::string::npos, said);
  };
  asked(R"("rl_chains": 5)", "expected an object, found 5");
  asked(R"("rl_chains": {"box": 5})", "template 'box': expected an object, found 5");
  asked(R"("rl_chains": {"box": {"answer_type": 7}})", "template 'box': answer_type: expected a text, found 7");
  asked(R"("rl_chains": {"*": {"answer_type": ""}})", "template '*': answer_type: expected a text, found \"\"");
  asked(R"("rl_chains": {"box": {"ask": 101}})",
        "template 'box': ask: expected a whole number from 0 to 100, found 101");
  asked(R"("rl_chains": {"box": {"share": -3}})", "template 'box': share: expected a whole number from 0 to 1000000");
  asked(R"("rl_chains": {"box": {"share": 0.5}})", "template 'box': share: expected a whole number from 0 to 1000000");
  CHECK(message_of(damaged("vocabulary.json", "[225, 30, 30]", "[225, 30, 300]"))
            .find("color 'red': expected 0 to 255, found 300") != std::string::npos);
  CHECK(message_of(damaged("glyphs.json", R"(".###. #...# #..##)", R"(".###. #...# #..#)"))
            .find("characters '0': expected rows of equal length") != std::string::npos);
}

TEST_CASE("toy world files: pictures are drawn with the mixture that is named; an unknown one is refused") {
  for (const std::string mixture : {"default", "warm_start"}) {
    ToyWorldOptions options = small(fresh_path("mixture"));
    options.mixture = mixture;
    options.instruct = 60;
    write_toy_world(options);
    const std::string written = read_file(options.out_dir + "/instruct/conversations.json");
    CHECK((written.find(R"("check")") != written.npos) == (mixture == "warm_start"));
    CHECK(Json::read(options.out_dir + "/world.json").at("mixture").as_string() == mixture);
  }
  ToyWorldOptions options = small(fresh_path("mixture"));
  options.mixture = "warm_strat";
  CHECK_THROWS_WITH_AS(write_toy_world(options), "mixtures.json: no mixture 'warm_strat'; did you mean 'warm_start'?",
                       Error);
}

TEST_CASE("toy world files: what a mixture asks otherwise holds for its worlds alone") {
  const auto written = [](const std::string& mixture, std::int64_t instruct, std::int64_t test) {
    ToyWorldOptions options = small(fresh_path("asked"));
    options.mixture = mixture, options.instruct = instruct, options.test = test;
    write_toy_world(options);
    return read_file(options.out_dir + (test ? "/reasoning/reasoning.jsonl" : "/instruct/conversations.json"));
  };
  const auto times = [](const std::string& text, const std::string& what) {
    int n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += what.size()) ++n;
    return n;
  };
  const std::string answers = written("rl_answers", 100, 0), prompts = written("rl_prompts", 100, 0);
  CHECK(times(answers, "\"caption\"") + times(answers, "think") == 0);
  CHECK(times(answers, "\"three_last\"") > 20);
  CHECK(times(prompts, "\"caption\"") > 10);
  // Of 40 pictures of two lines each asks for both, of 40 of three lines one of eight does not ask for the first.
  CHECK(times(prompts, "\"think\"") > times(written("learned_last", 100, 0), "\"think\"") * 4 / 3);
  CHECK(times(prompts, "answer_types") == 0);
  const std::string counts = written("rl_counts", 100, 0);
  CHECK(times(counts, "answer_types") > 20);
  CHECK(times(counts, "\"count\"") > 20);
  CHECK(times(counts, "\"color\"") + times(counts, "\"caption\"") == 0);
  const std::string held_out = written("rl_held_out", 0, 200);
  CHECK(times(held_out, "\"variable_value\"") > 20);
  CHECK(times(written("default", 0, 200), "\"variable_value\"") == 0);
  CHECK(test::thrown([&] { written("rl_counts", 1, 8); }).find("its ask is 0; draw held-out questions with another") !=
        std::string::npos);
}

TEST_CASE("toy world files: counts out of range are refused") {
  ToyWorldOptions options = small(fresh_path("counts"));
  options.regions = -1;
  CHECK_THROWS_WITH_AS(write_toy_world(options), "synth: regions: expected 0 to 1048575, found -1", Error);
  options = small(fresh_path("counts"));
  options.shard_size = 0;
  CHECK_THROWS_WITH_AS(write_toy_world(options), "synth: shard_size: expected at least 1, found 0", Error);
}
