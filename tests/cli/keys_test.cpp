#include "cli/keys.h"
#include "base/config_words.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <sstream>

#include "cli/verbs.h"
#include "nn/init.h"
#include "tests/check.h"

using namespace ov;

TEST_CASE("keys: names are unique, short names within a command too, and every row names commands that exist") {
  std::set<std::string_view> names, commands, with_keys;
  for (const Command& c : cli::keys().commands()) CHECK(commands.insert(c.name).second);
  std::map<std::string, std::string> spoken;  // "command --name" -> key
  for (const Key& key : cli::keys().keys()) {
    INFO(key.name);
    CHECK(names.insert(key.name).second);
    CHECK(!key.help.empty());
    CHECK(key.short_name != key.name);
    std::istringstream users{std::string(key.commands)};
    int count = 0;
    for (std::string command; users >> command; ++count) {
      CHECK(commands.count(command) == 1);
      CHECK(spoken.emplace(command + " --" + std::string(key.name), key.name).second);
      if (!key.short_name.empty())
        CHECK(spoken.emplace(command + " --" + std::string(key.short_name), key.name).second);
    }
    CHECK(count > 0);
  }
}

TEST_CASE("keys: every default is one that its own row allows") {
  for (const Command& command : cli::keys().commands()) {
    Strings arguments;
    for (const Key* key : cli::keys().of(command.name)) {
      const std::string shown = to_text(key->value);
      if (!std::holds_alternative<Strings>(key->value) && !shown.empty())
        arguments.push_back("--" + std::string(key->name) + "=" + shown);
    }
    for (const std::string& operand : words(command.operands))
      if (!operand.starts_with("[")) arguments.push_back(operand.substr(0, operand.find('|')));
    CHECK_NOTHROW(Config::parse(cli::keys(), command.name, arguments));
  }
}

TEST_CASE("keys: the defaults of a model's description and of its initial values are the library's") {
  const Config config = Config::parse(cli::keys(), "merge", {});
  ModelConfig described;
  described.vision = cli::described_vision(config);
  described.text = cli::described_text(config);
  CHECK(described.json().dump() == ModelConfig{}.json().dump());
  const InitOptions init;
  CHECK(config.text("init.matrix") == init.matrix);
  CHECK(config.number("init.matrix_std") == init.matrix_std);
  CHECK(config.number("init.projection_out_std") == init.projection_out_std);
  CHECK(config.number("init.embedding_std") == init.embedding_std);
  CHECK(config.number("init.patch_embedding_std") == init.patch_embedding_std);
  CHECK(config.number("init.class_vector_std") == init.class_vector_std);
  CHECK(config.number("init.class_angles_std") == init.class_angles_std);
}

TEST_CASE("keys: those of a command that is launched stand behind --, and one that does not is told so") {
  const auto parsed = [](const Strings& arguments) { return Config::parse(cli::keys(), "launch", arguments); };
  CHECK(parsed({"-n", "2", "--", "train", "--model", "m"}).operands() == Strings{"train", "--model", "m"});
  CHECK(test::thrown([&] {
          parsed({"-n", "2", "train", "--model", "m"});
        }) == "launch: --model is no key of it; put -- before the command: launch ... -- train ... --model");
  CHECK(test::contains(test::thrown([&] { parsed({"--modle", "m"}); }), "unknown key '--modle'"));
}

TEST_CASE(
    "keys: a word that some say for another is answered with the one that is meant, not with the nearest letters") {
  const auto said = [](const Strings& arguments) {
    return test::thrown([&] { Config::parse(cli::keys(), "embed", arguments); });
  };
  for (const char* gpu : {"gpu", "gpu:0", "cuda:1", "nvidia"})
    CHECK(said({"--device", gpu}) ==
          cat("--device: expected one of cpu cuda auto, got '", gpu, "'; did you mean 'cuda'?"));
  CHECK(test::contains(said({"--device", "cpuu"}), "did you mean 'cpu'?"));
  CHECK(test::contains(said({"--dtype", "float32"}), "did you mean 'f32'?"));
  CHECK(test::contains(said({"--dtype", "bfloat16"}), "did you mean 'bf16'?"));
  CHECK_FALSE(test::contains(said({"--dtype", "gpu"}), "did you mean 'cuda'"));
}
