// The recipes at real size are configuration files; nobody here can run them, but every key in them must mean
// something.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "base/io/file.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "tests/base/scratch.h"

using namespace ov;

TEST_CASE("recipes: every file of configs/recipe is a configuration of the command that it is for (T-42)") {
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator("configs/recipe")) {
    const std::string path = file.path();
    CAPTURE(path);
    ++files;
    const bool tower = file.path().stem().string().starts_with("rice");
    Config config;
    REQUIRE_NOTHROW(config = Config::parse(cli::keys(), tower ? "pretrain" : "train", {"--config", path}));
    StepOptions step;
    CHECK_NOTHROW(cli::step_options(config, step));
    CHECK(config.integer("train.steps") > 100);
    CHECK(config.number("optimizer.lr") > config.number("optimizer.min_lr"));
  }
  CHECK(files > 0);
}

TEST_CASE("recipes: every stage of a size goes with that size's model") {
  for (const auto& file : std::filesystem::directory_iterator("configs/recipe")) {
    const std::string path = file.path(), stage = file.path().stem(), size = stage.substr(0, stage.find('-'));
    CAPTURE(path);
    const bool tower = size == "rice";
    const std::string model = "configs/model/" + (tower ? "rice-vit-l" : size) + ".json";
    Config config;
    REQUIRE_NOTHROW(config = Config::parse(cli::keys(), tower ? "pretrain" : "plan", {"--config", model, path}));
    CHECK_NOTHROW(cli::described_vision(config).check());
    if (!tower) CHECK_NOTHROW(cli::described_text(config).check());
  }
}

namespace {

// Words as a shell makes them of a line of a README: quotes go, a comment ends it.
Strings words_of(const std::string& line) {
  Strings words;
  std::string word;
  bool quoted = false, any = false;
  for (const char c : line + " ") {
    if (c == '"') {
      quoted = !quoted;
      any = true;
    } else if (c != ' ' || quoted) {
      word += c;
    } else {
      if (word == "#") break;
      if (any || !word.empty()) words.push_back(word);
      word.clear();
      any = false;
    }
  }
  return words;
}

// The verb takes these keys. `launch ... -- verb ...` is asked for what it starts.
void check_command(Strings words) {
  const auto started = std::find(words.begin(), words.end(), "--");
  if (started != words.end()) words.erase(words.begin(), started + 1);
  REQUIRE(!words.empty());
  const std::string verb = words.front();
  words.erase(words.begin());
  CHECK_NOTHROW(Config::parse(cli::keys(), verb, words));
}

// Commands behind "build/onevision", to the end of their lines; and of a table "| `verb`, ... | `--key value`, ... |".
int check_commands(const std::string& path) {
  const std::string program = "    build/onevision ";
  std::istringstream lines(read_file(path));
  int commands = 0;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(path);
    CAPTURE(line);
    if (line.starts_with(program)) {
      for (std::string more; line.ends_with('\\') && std::getline(lines, more);) {
        line.back() = ' ';
        line += more;
      }
      check_command(words_of(line.substr(program.size())));
      ++commands;
    } else if (line.starts_with("| `")) {
      std::istringstream cells(line.substr(2));
      std::string verbs, examples;
      std::getline(cells, verbs, '|');
      std::getline(cells, examples, '|');
      std::istringstream spans(examples);
      std::string between, span;
      while (std::getline(spans, between, '`') && std::getline(spans, span, '`')) {
        if (span.find("--") == std::string::npos) continue;
        check_command(words_of(verbs.substr(1, verbs.find('`', 1) - 1) + " " + span));
        ++commands;
      }
    }
  }
  return commands;
}

}  // namespace

TEST_CASE("recipes: tables that come with the program are found from any directory; a named one is not looked for") {
  const Config config = Config::parse(cli::keys(), "plan", {});
  const Config other = Config::parse(cli::keys(), "plan", {"--plan.devices", "none.json"});
  CHECK(cli::shipped(config, "plan.devices") == "configs/devices.json");
  const ScratchDirectory dir;
  const std::filesystem::path here = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  const std::string found = cli::shipped(config, "plan.devices"), missing = cli::shipped(other, "plan.devices");
  std::filesystem::current_path(here);
  CHECK(std::filesystem::equivalent(found, "configs/devices.json"));
  CHECK(missing == "none.json");
}

TEST_CASE("recipes: every command that README.md and data/README.md show is one that the program takes") {
  CHECK(check_commands("data/README.md") > 0);
  CHECK(check_commands("README.md") > 0);
}
