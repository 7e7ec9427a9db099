// The recipes at real size are configuration files; nobody here can run them, but every key in them must mean
// something.
#include <doctest/doctest.h>

#include <filesystem>

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
