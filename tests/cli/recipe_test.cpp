// The recipes at real size are configuration files; nobody here can run them, but every key in them must mean
// something.
#include <doctest/doctest.h>

#include <filesystem>
#include <sstream>

#include "base/io/file.h"
#include "cli/keys.h"
#include "cli/verbs.h"

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

TEST_CASE("recipes: every command that data/README.md shows is one that the program takes") {
  std::istringstream lines(read_file("data/README.md"));
  const std::string program = "    build/onevision ";
  int commands = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(program)) continue;
    CAPTURE(line);
    ++commands;
    std::istringstream words(line.substr(program.size()));
    std::string verb;
    words >> verb;
    Strings arguments;
    for (std::string word; words >> word;) arguments.push_back(word);
    CHECK_NOTHROW(Config::parse(cli::keys(), verb, arguments));
  }
  CHECK(commands > 0);
}
