// The sizes of configs/model against the published tables in tests/golden/shapes: every tensor's name on disk and
// shape.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/keys.h"
#include "cli/verbs.h"
#include "model/onevision.h"
#include "store/hf_names.h"

using namespace ov;

namespace {

// "a.{0..2}.{w,b}" stands for six names.
std::vector<std::string> expanded(const std::string& pattern) {
  const auto open = pattern.find('{'), close = pattern.find('}');
  if (open == std::string::npos) return {pattern};
  std::istringstream choices(pattern.substr(open + 1, close - open - 1));
  std::vector<std::string> all;
  const auto add = [&](const std::string& choice) {
    for (const std::string& rest : expanded(pattern.substr(close + 1)))
      all.push_back(pattern.substr(0, open) + choice + rest);
  };
  if (const auto dots = choices.str().find(".."); dots != std::string::npos) {
    for (int i = std::stoi(choices.str()); i <= std::stoi(choices.str().substr(dots + 2)); ++i) add(std::to_string(i));
    return all;
  }
  for (std::string choice; std::getline(choices, choice, ',');) add(choice);
  return all;
}

}  // namespace

TEST_CASE(
    "real shapes: every size has the names, shapes, tensors and parameters of the published tables (M-15, M-20, M-47, "
    "T-06)") {
  std::size_t sizes = 0;
  for (const auto& file : std::filesystem::directory_iterator("tests/golden/shapes")) {
    const std::string size = file.path().stem();
    CAPTURE(size);
    ++sizes;
    std::map<std::string, std::string> expected;
    std::int64_t tensors = 0, parameters = 0;
    std::ifstream lines(file.path());
    for (std::string name, value; lines >> name >> value;) {
      if (name == "tensors") tensors = std::stoll(value);
      else if (name == "parameters") parameters = std::stoll(value);
      else
        for (const std::string& n : expanded(name)) expected[n] = value;
    }
    REQUIRE(static_cast<std::int64_t>(expected.size()) == tensors);

    const Config config = Config::parse(cli::keys(), "plan", {"--config", "configs/model/" + size + ".json"});
    ModelConfig described;
    described.vision = cli::described_vision(config);
    described.text = cli::described_text(config);
    const Onevision model(described);
    CHECK(model.parameters().count() == parameters);
    CHECK(static_cast<std::int64_t>(model.parameters().entries().size()) == tensors);
    for (const Parameters::Entry& e : model.parameters().entries()) {
      const std::string name = name_on_disk(e.parameter.name);
      std::ostringstream shape;
      for (int i = 0; i < e.shape.rank(); ++i) shape << (i ? "," : "[") << e.shape[i];
      CHECK_MESSAGE(expected[name] == shape.str() + "]", name);
    }
  }
  CHECK(sizes > 0);
}
