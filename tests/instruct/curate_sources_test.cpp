// Sources of `curate` that are described wrongly, or lie where they would be lost.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "base/io/file.h"
#include "image/encode.h"
#include "instruct/curate.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using instruct::CurateOptions;
using test::contains, test::thrown;

namespace {

struct Sets {
  ScratchDirectory dir;
  CurateOptions o;
  Sets() {
    o.rules = "data/instruct", o.manifest = dir / "m.json", o.out = dir / "out";
    for (const char* folder : {"a", "b"}) {
      make_directories(dir / folder);
      Image shade(30, 30);
      for (std::uint8_t& v : shade.rgb) v = *folder == 'a' ? 90 : 200;
      write_durably(dir / folder + "/p.png", encode_png(shade));
    }
    write_durably(dir / "set.jsonl",
                  R"({"image": "p.png", "conversations": [{"from": "human", "value": "what is it ?"},)"
                  R"( {"from": "gpt", "value": "a ring on the white sand"}]})"
                  "\n");
  }
  std::string run(const std::string& manifest) {
    write_durably(o.manifest, manifest);
    return thrown([&] { silently([&] { instruct::curate(o); }); });
  }
  std::set<std::string> pictures() const {
    std::set<std::string> all;
    JsonlReader lines(o.out + "/records.jsonl");
    for (Json line; lines.next(&line);) all.insert(line.at("images")[0].as_string());
    return all;
  }
};

}  // namespace

TEST_CASE("curate: one file of records beside two folders of pictures is two sources") {
  Sets s;
  CHECK(s.run(R"({"sources": [{"name": "a", "path": "set.jsonl", "licence": "x", "image_dir": "a"},
                              {"name": "b", "path": "set.jsonl", "licence": "x", "image_dir": "b"}]})") == "");
  CHECK(s.pictures() == std::set<std::string>{"../a/p.png", "../b/p.png"});
}

TEST_CASE("curate: OUT that holds one of its sources is refused and stays") {
  Sets s;
  REQUIRE(s.run(R"({"sources": [{"path": "set.jsonl", "licence": "x", "image_dir": "a"}]})") == "");
  const std::string records = read_file(s.o.out + "/records.jsonl");
  for (const char* source :
       {R"("path": "out/records.jsonl", "image_dir": "a")", R"("path": "set.jsonl", "image_dir": "out")"}) {
    const std::string said = s.run(cat(R"({"sources": [{"name": "again", "licence": "x", )", source, "}]}"));
    CHECK_MESSAGE(contains(said, "/out: source again lies in it ("), said);
    CHECK(read_file(s.o.out + "/records.jsonl") == records);
  }
}

TEST_CASE(
    "curate: a list of licences that allows none, a difficulty of none and names that no file can have are refused") {
  Sets s;
  const auto source = [](const char* more) {
    return cat(R"({"sources": [{"path": "set.jsonl", "licence": "x", "image_dir": "a")", more, "}]");
  };
  CHECK(contains(s.run(source("") + R"(, "licences": []})"), "m.json: licences: an empty list leaves nothing"));
  CHECK(contains(s.run(source(R"(, "difficulty": 0)") + "}"), "difficulty: expected 1 to 3"));
  CHECK(contains(s.run(source(R"(, "name": "a\u0000b")") + "}"), "name: expected a word that can name a directory"));
  CHECK(
      contains(s.run(source((R"(, "name": ")" + std::string(300, 'n') + "\"").c_str()) + "}"), "can name a directory"));
}
