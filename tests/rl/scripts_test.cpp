// configs/rl/*.sh with a program that does nothing but leave the files that the next command reads.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "base/io/file.h"
#include "base/text.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov::test {
namespace {

// Writes its arguments to calls.txt; selections with --rl.high 0.6 keep nothing where `fails` is there.
const char* const program = R"(#!/bin/sh
echo "$*" >>"${0%/*}/calls.txt"
all=$* verb=$1 out=
while [ $# -gt 1 ]; do
  [ "$1" = --out ] && out=$2
  shift
done
case $verb in
  synth)
    mkdir -p "$out/instruct" "$out/test/images"
    touch "$out/test/grounding_counting.jsonl" "$out/test/commonest_answers.json" ;;
  train | rl) mkdir -p "$out/model" && touch "$out/model/model.safetensors" ;;
  rl-select)
    mkdir -p "$out" && touch "$out/kept.jsonl"
    case $all in *"--rl.high 0.6"*) [ ! -e "${0%/*}/fails" ] || exit 2 ;; esac ;;
esac
)";

// The scripts in a root of their own, with what `make demo` leaves of a model and its questions.
class Scripts {
 public:
  Scripts() {
    namespace fs = std::filesystem;
    for (const char* place : {"configs", "data/toy_world", "build/demo/instruct/model", "build/demo/world/test"})
      fs::create_directories(path(place));
    for (const char* place : {"configs/rl", "configs/demo"}) fs::copy(place, path(place));
    for (const char* file : {"templates.json", "mixtures.json"})
      fs::copy_file(cat("data/toy_world/", file), path(cat("data/toy_world/", file)));
    for (const char* file : {"DONE", "model.safetensors"})
      write_durably(path(cat("build/demo/instruct/model/", file)), "{}");
    write_durably(path("build/onevision"), program);
    fs::permissions(path("build/onevision"), fs::perms::owner_all);
  }
  std::string path(const std::string& name) const { return dir_ / name; }

  // Its exit code; what it said and called.
  int run(const std::string& script, const std::string& arguments) {
    std::filesystem::remove(path("build/calls.txt"));
    const std::string command = cat("cd '", path(""), "' && sh configs/rl/", script, " ", arguments, " >said.txt 2>&1");
    const int status = std::system(command.c_str());
    said = read_file(path("said.txt"));
    calls = path_exists(path("build/calls.txt")) ? read_file(path("build/calls.txt")) : "";
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool called(const std::string& verb) const { return contains("\n" + calls, "\n" + verb + " "); }
  std::string said, calls;

 private:
  ScratchDirectory dir_;
};

}  // namespace

TEST_CASE("scripts of RL: what is wrong with their arguments is said before anything runs") {
  Scripts scripts;
  const auto refused = [&](const char* script, const char* arguments, const char* why) {
    CHECK_MESSAGE(scripts.run(script, arguments) == 2, scripts.said);
    CHECK_MESSAGE(contains(scripts.said, cat(script, ": ", why)), scripts.said);
    CHECK(scripts.calls.empty());
  };
  refused("table.sh", "build demo 219 2 'thinking thinkin'", "'thinkin': the arms are thinking shuffled");
  refused("table.sh", "build demo 'a b' 2 thinking", "seed 'a': expected a whole number");
  refused("table.sh", "build demo 219 0 thinking", "steps '0': expected a whole number of at least 1");
  refused("table.sh", "build demo 219 2.5 thinking", "steps '2.5'");
  refused("table.sh", "build ' ' 219 2 thinking", "no start");
  refused("table.sh", "build demo 219 2 thinking more", "6 arguments, at most 5");
  refused("table.sh", "build",
          "build/demo-seed2/instruct/model or build/demo-seed2/world/test is not there: run sh "
          "configs/demo/recipe.sh build seed=2");
  refused("table.sh", "build demo-seed2-bf16", "build/demo-seed2-bf16/instruct/model or");
  refused("counts.sh", "build 219 'all al'", "'al': the arms are all released ours taught");
  refused("counts.sh", "build '' ' '", "no arm");
  refused("counts.sh", "build x", "seed 'x'");
  refused("demo.sh", "--help", "'--help' is no option");
  refused("demo.sh", "nowhere", "nowhere/onevision is not there");
  std::filesystem::remove_all(scripts.path("build/demo/world"));
  refused("demo.sh", "", "build/demo/instruct/model or build/demo/world/test is not there: run make demo");
}

TEST_CASE("scripts of RL: a selection that fails ends counts.sh, and it goes on there") {
  Scripts scripts;
  write_durably(scripts.path("build/fails"), "");
  CHECK(scripts.run("counts.sh", "build 219 released") == 2);
  CHECK(scripts.called("rl-select"));
  CHECK_FALSE(scripts.called("rl"));
  std::filesystem::remove(scripts.path("build/fails"));
  CHECK_MESSAGE(scripts.run("counts.sh", "build 219 released") == 0, scripts.said);
  CHECK_FALSE(scripts.called("synth"));
  CHECK(scripts.called("rl"));
  CHECK(scripts.called("report"));
}

TEST_CASE("scripts of RL: what was done is not run again; other data, and runs and report are made anew") {
  Scripts scripts;
  for (const char* script : {"table.sh", "counts.sh", "demo.sh"}) {
    INFO(script);
    const std::string arguments = script == std::string("table.sh")    ? "build demo 219 2 thinking"
                                  : script == std::string("counts.sh") ? "build 219 all"
                                                                       : "build";
    REQUIRE_MESSAGE(scripts.run(script, arguments) == 0, scripts.said);
    for (const char* verb : {"synth", "rl", "eval", "rl-table", "report"}) CHECK(scripts.called(verb));
    REQUIRE(scripts.run(script, arguments) == 0);
    CHECK(scripts.called("rl-table"));
    for (const char* verb : {"synth", "train", "rl-select", "rl", "eval", "report"}) CHECK_FALSE(scripts.called(verb));
    const std::string mixtures = scripts.path("data/toy_world/mixtures.json");
    write_durably(mixtures, read_file(mixtures) + "\n");
    REQUIRE(scripts.run(script, arguments) == 0);
    for (const char* verb : {"synth", "rl", "eval", "report"}) CHECK(scripts.called(verb));
  }
}

}  // namespace ov::test
