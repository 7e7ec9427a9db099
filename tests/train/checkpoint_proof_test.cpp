// A checkpoint proves that it is what was written.
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "base/io/durable_directory.h"
#include "base/rng.h"
#include "tests/base/scratch.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

// A run of `steps` on one fixed row, each step saved.
void save_steps(const std::string& out, std::int64_t steps) {
  const auto model = random_model(least_config());
  FixedSteps data({as_step({mixed_row(1)})});
  LanguageObjective objective(*model, data, short_run(steps));
  StepEngine engine(objective, short_run(steps));
  for (std::int64_t i = 0; i < steps; ++i) {
    engine.step();
    save_checkpoint(out, engine.state(), Json::object());
  }
}

}  // namespace

TEST_CASE("a checkpoint proves itself: any flipped bit, cut or missing file and edited digit is named (R-33)") {
  const ScratchDirectory out;
  save_steps(out.path(), 1);
  const std::string path = *newest_checkpoint(out.path());
  CHECK(checked_checkpoint(path).at("step").as_int() == 1);
  const Philox random(7, "flips");
  std::uint64_t draws = 0;
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "state.json", "DONE"}) {
    const std::string file = path + "/" + name, whole = read_file(file);
    for (int flip = 0; flip < 60; ++flip) {
      std::string flipped = whole;
      const auto bit = static_cast<std::size_t>(random.below(draws++, 8 * whole.size()));
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
      write_durably(file, flipped);
      const std::string message = thrown([&] { checked_checkpoint(path); });
      CHECK_MESSAGE(message.find(file) != std::string::npos, name, " bit ", bit, ": ", message);
    }
    write_durably(file, whole.substr(0, whole.size() / 2));
    CHECK(thrown([&] { checked_checkpoint(path); }).find(file) != std::string::npos);
    std::filesystem::remove(file);
    CHECK(thrown([&] { checked_checkpoint(path); }).find(file) != std::string::npos);
    write_durably(file, whole);
  }
  CHECK(thrown([&] { checked_checkpoint(path); }) == "");
}

TEST_CASE("a checkpoint tells one story about its step, whatever its digests say") {
  const ScratchDirectory out;
  save_steps(out.path(), 1);
  const std::string path = *newest_checkpoint(out.path());
  const std::string state = read_file(path + "/state.json"), model = read_file(path + "/model.safetensors");
  // The same files with one of them replaced, their digests made anew.
  const auto with = [&](const std::string& new_state, const std::string& steps, const std::string& name = "") {
    const Safetensors moments = Safetensors::open(path + "/optimizer.safetensors");
    auto metadata = moments.metadata();
    metadata["steps"] = steps;
    const std::string other = out / "other/checkpoints/" + (name.empty() ? "step-00000001" : name);
    make_directories(out / "other/checkpoints");
    DurableDirectory directory(other, "checkpoint");
    write_durably(directory.file("state.json"), new_state);
    write_durably(directory.file("model.safetensors"), model);
    write_safetensors(directory.file("optimizer.safetensors"), {{"m", moments.tensor("m")}, {"v", moments.tensor("v")}},
                      metadata);
    directory.commit();
    return thrown([&] { checked_checkpoint(other); });
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = state;
    return text.replace(text.find(from), from.size(), to);
  };
  CHECK(with(state, "1") == "");
  for (const char* steps : {"2", "-1", "", "one", "1e0", "1 ", "99999999999999999999"}) {
    INFO(steps);
    CHECK(with(state, steps).find("the optimiser has made") != std::string::npos);
  }
  CHECK(with(replaced("\"step\": 1", "\"step\": 2"), "2").find("but the directory is step-00000001") !=
        std::string::npos);
  CHECK(with(state, "1", "step-00000003").find("but the directory is step-00000003") != std::string::npos);
  for (const char* step : {"-1", "1.0", "\"1\"", "null"})
    CHECK(with(replaced("\"step\": 1", cat("\"step\": ", step)), "1").find("state.json: step: expected a whole") !=
          std::string::npos);
  CHECK(with(replaced("\"version\": 2", "\"version\": 1"), "1").find("version 1, this program reads version 2") !=
        std::string::npos);
  CHECK(with("[]", "1").find("state.json: version: expected") != std::string::npos);
  CHECK(with("{", "1").find("state.json:") != std::string::npos);
}

TEST_CASE("what users put beside checkpoints, and into them, is not taken for one and not removed") {
  const ScratchDirectory out;
  save_steps(out.path(), 3);
  const std::string folder = out / "checkpoints/";
  for (const char* mine : {"step-best", "step-00000002-keep", "step-2", "step-00000002.backup"})
    std::filesystem::copy(folder + "step-00000002", folder + mine, std::filesystem::copy_options::recursive);
  make_directory(folder + "step-notes", "");
  write_durably(folder + "step-00000001/notes.txt", "the one of the paper");
  CHECK(checkpoints(out.path()).size() == 3);
  prune_checkpoints(out.path(), 1);
  CHECK(list_directory(out / "checkpoints") == std::vector<std::string>{"step-00000001", "step-00000002-keep",
                                                                        "step-00000002.backup", "step-00000003",
                                                                        "step-2", "step-best", "step-notes"});
  CHECK(thrown([&] { checked_checkpoint(folder + "step-00000001"); }) == "");
}
