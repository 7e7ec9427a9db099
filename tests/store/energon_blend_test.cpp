#include <doctest/doctest.h>

#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"
#include "store/energon_blend.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov {
namespace {

using test::contains;

// A folder with two data sets, a and b, and mixtures beside and below them.
struct Mixtures {
  ScratchDirectory dir;
  Mixtures() {
    for (const char* name : {"a", "b", "sub"}) std::filesystem::create_directory(dir / name);
  }
  std::string write(const std::string& name, const std::string& text) const {
    write_durably(dir / name, text);
    return dir / name;
  }
  // "path share split" of every set, with what lies below the folder alone.
  std::string read(const std::string& path, const std::string& split = "train") const {
    const EnergonBlend blend = read_energon_blend(path, split);
    std::string out = blend.epochized ? "epochs" : "weights";
    for (const EnergonSet& s : blend.sets)
      out += cat(" ", s.path.substr(dir.path().size() + 1), " ", s.share, " ", s.split);
    return out;
  }
  std::string refused(const std::string& text) const {
    try {
      read_energon_blend(write("m.yaml", text));
    } catch (const Error& e) {
      CHECK(e.exit() == Exit::wrong_input);
      return e.what();
    }
    return "";
  }
};

std::string split(const std::string& inside) { return "__class__: MetadatasetV2\nsplits:\n  train:\n" + inside; }

}  // namespace

TEST_CASE("energon mixtures: every file of the golden folder gives the data sets and shares that energon resolved") {
  const std::string folder = "tests/golden/webdataset";
  const Json expected = Json::read(folder + "/metadataset.json");
  std::size_t files = 0;
  for (const std::string& name : list_directory(folder)) files += is_energon_blend(name);
  CHECK(files == expected.size());
  for (const auto& file : expected.members()) {
    const auto& name = file.first;
    const Json& says = file.second;
    CAPTURE(name);
    const EnergonBlend blend = read_energon_blend(folder + "/" + name);
    CHECK(blend.epochized == contains(says.at("mode").as_string(), "REPETITIONS"));
    REQUIRE(blend.sets.size() == says.at("datasets").size());
    for (std::size_t i = 0; i < blend.sets.size(); ++i) {
      const Json& one = says.at("datasets")[i];
      CHECK(blend.sets[i].path == folder + "/" + one.at("path").as_string());
      CHECK(blend.sets[i].share == one.at("weight_or_repetitions").as_double());
      CHECK(blend.sets[i].subflavors.dump() == one.at("subflavors").dump());
    }
  }
}

TEST_CASE("energon mixtures: nested, with other splits, in both versions; shares multiply and outer subflavors win") {
  const Mixtures m;
  m.write(
      "sub/inner.yaml",
      "splits:\n  train:\n    datasets:\n      - path: ../a\n        weight: 1\n        subflavors: {x: 1, y: '2'}\n"
      "      - {path: ../b, weight: 3}\n  val:\n    datasets:\n      - {path: ../b, weight: 5}\n");
  const std::string outer =
      m.write("outer.yaml", split("    blend:\n      - {weight: 1, path: a}\n"
                                  "      - {weight: 3, path: sub/inner.yaml, subflavors: {x: outer}}\n"
                                  "      - {weight: 4, path: sub/inner.yaml, split_part: val}\n  val: {path: b}\n"));
  CHECK(m.read(outer) == "weights a 0.125 train sub/../a 0.09375 train sub/../b 0.28125 train sub/../b 0.5 val");
  CHECK(read_energon_blend(outer).sets[1].subflavors.dump() == R"({"x":"outer","y":"2"})");
  CHECK(m.read(outer, "val") == "weights b 1 val");
  CHECK(
      m.read(m.write("e.yaml", split("    blend_epochized:\n      - {repetitions: 2, path: a}\n      - path: b\n"))) ==
      "epochs a 2 train b 1 train");
  CHECK(m.read(m.write("f.yaml", split("    blend_epochized:\n      - {repetitions: 1.5, path: e.yaml}\n"))) ==
        "epochs a 3 train b 1.5 train");
  CHECK(
      contains(m.refused(split("    blend:\n      - path: e.yaml\n")), "m.yaml:5: a blend by weights and a blend_epo"));
}

TEST_CASE("energon mixtures: files that each name the next twice are refused before their sets fill the memory") {
  const Mixtures m;
  const auto chain = [&](int files) {
    for (int i = 0; i < files; ++i) {
      const std::string next = i + 1 < files ? cat("c", i + 1, ".yaml") : "a";
      m.write(cat("c", i, ".yaml"), split("    blend: [{path: " + next + "}, {path: " + next + "}]\n"));
    }
    return m.dir / "c0.yaml";
  };
  CHECK(read_energon_blend(chain(6)).sets.size() == 64);
  try {
    read_energon_blend(chain(31));
    CHECK_MESSAGE(false, "2^31 sets");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    CHECK(contains(e.what(), ".yaml:4: with this entry the mixture has more than 4096 data sets"));
  }
}

TEST_CASE("energon mixtures: what is not supported is refused by name, with its line") {
  const Mixtures m;
  for (const std::string name : {"subset: {range: [0%, 50%]}", "aux: {x: b}", "dataset_config: d.yaml",
                                 "split_config: s.yaml", "join: [{path: a}]", "joiner: j"})
    CHECK(contains(m.refused(split("    blend:\n      - path: a\n        " + name + "\n")),
                   "m.yaml:6: '" + name.substr(0, name.find(':')) + "' is not supported"));
  for (const char* text : {",", ",a: b\n", "# c\n, a\n"})  // yaml-cpp's own reader of several documents never ends here
    CHECK(contains(m.refused(text), "malformed YAML: a comma in front"));
  CHECK(contains(m.refused("a: 1\n, b: 2\n"), "m.yaml:2: malformed YAML"));
  CHECK(contains(m.refused(split("    join: [{path: a}]\n")), "'join' is not supported"));
  CHECK(contains(m.refused(split("    blend: [{path: a, shuffle_over_epochs_multiplier: 3}]\n")),
                 "shuffle_over_epochs_multiplier 3 is not supported"));
  CHECK(m.refused(split("    blend: [{path: a, shuffle_over_epochs_multiplier: 1}]\n")) == "");
  CHECK(contains(m.refused(split("    blend: [{path: a, wieght: 3}]\n")), "'wieght'"));
  CHECK(contains(m.refused(split("    blend: [{path: a, wieght: 3}]\n")), "did you mean 'weight'?"));
  CHECK(contains(m.refused(split("    blend: [{path: a, repetitions: 3}]\n")), "unknown key 'repetitions'"));
  CHECK(contains(m.refused(split("    blend: [{path: a, weight: -1}]\n")), "weight -1, expected 0 or more"));
  CHECK(contains(m.refused(split("    blend: [{path: a, weight: many}]\n")), "expected a number, found 'many'"));
  CHECK(contains(m.refused(split("    blend: [{path: a, weight: 0}]\n")), "no data set has a weight above 0"));
  CHECK(contains(m.refused(split("    blend: []\n")), "no data set has a weight above 0"));
  CHECK(contains(m.refused(split("    blend: [{weight: 1}]\n")), "expected a path"));
  CHECK(contains(m.refused(split("    blend: [{path: c}]\n")), "/c: no such file or directory"));
  CHECK(contains(m.refused(split("    blend: [{path: 's3://a/b'}]\n")), "only paths of this machine"));
  CHECK(contains(m.refused(split("    blend: [{path: m.yaml}]\n")), "this mixture leads to itself"));
  CHECK(contains(m.refused("splits: {val: {datasets: [{path: a}]}}\n"), "has no split 'train'; it has val"));
  CHECK(contains(m.refused("__class__: Metadatset\nsplits: {}\n"), "class 'Metadatset': expected Metadataset"));
  CHECK(contains(m.refused("a: [\n"), "malformed YAML"));
  CHECK(contains(m.refused("just words\n"), "m.yaml:1: expected 'key: value', found 'just words'"));
  CHECK(m.refused(std::string(20000, '[')) != "");
  CHECK(m.refused(split("    blend: [{path: a, subflavors: &x {y: *x}}]\n")) != "");
}

}  // namespace ov
