// What a run does that is started again: it goes on from what is whole, and only as the same run.
#include <doctest/doctest.h>

#include "base/io/file.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

// What the job says on stderr.
std::string told(const TrainJob& job, const std::string& file) {
  std::fflush(nullptr);
  const int kept = ::dup(2), to = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(to, 2);
  ::close(to);
  run_training(job);
  std::fflush(nullptr);
  ::dup2(kept, 2);
  ::close(kept);
  return read_file(file);
}

void flip(const std::string& file, std::size_t byte) {
  std::string text = read_file(file);
  text[byte] = static_cast<char>(text[byte] ^ 4);
  write_durably(file, text);
}

}  // namespace

TEST_CASE("a damaged checkpoint is named and the one before is used: the same bits, nothing twice in the logs (R-34)") {
  const World world;
  const TrainJob whole = world.job("whole"), job = world.job("run");
  quietly(whole);
  quietly(job);
  flip(job.out + "/checkpoints/step-00000006/model.safetensors", 5000);
  const std::string said = told(job, world.path("said"));
  CHECK(said.find("damaged checkpoint: " + job.out + "/checkpoints/step-00000006/model.safetensors: is not what") !=
        std::string::npos);
  CHECK(said.find("resumed from " + job.out + "/checkpoints/step-00000004") != std::string::npos);
  CHECK(model_sha(job) == model_sha(whole));
  CHECK(list_directory(job.out + "/checkpoints") ==
        std::vector<std::string>{"step-00000004", "step-00000006", "step-00000006.damaged"});
  std::vector<std::int64_t> logged, measured;
  std::string damaged;
  for (const Json& line : lines_of(job.out + "/run.jsonl")) {
    if (line.at("type").as_string() == "step") logged.push_back(line.at("step").as_int());
    if (line.at("type").as_string() == "memory") {
      measured.push_back(line.at("step").as_int());
      const Json& bytes = line.at("bytes");
      CHECK(bytes.at("weights").as_int() > 0);
      CHECK(bytes.at("all_at_once").as_int() > bytes.at("weights").as_int() + bytes.at("optimizer").as_int());
    }
    if (line.at("type").as_string() == "resume") damaged = line.at("damaged").dump();
  }
  CHECK(logged == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  CHECK(measured == std::vector<std::int64_t>{1, 5});
  CHECK(damaged.find("step-00000006/model.safetensors") != std::string::npos);

  for (const char* step : {"step-00000004", "step-00000006"}) flip(job.out + "/checkpoints/" + step + "/DONE", 30);
  const std::string message = refusal(job);
  CHECK(message.find("step-00000004/DONE") != std::string::npos);
  CHECK(message.find("no whole checkpoint is left") != std::string::npos);
  fs::remove(job.out + "/checkpoints/step-00000004/DONE");
  fs::remove(job.out + "/checkpoints/step-00000006/DONE");
  CHECK(refusal(job).find("no whole checkpoint is left") != std::string::npos);
}

TEST_CASE("a resumed run is the same run: other keys, another model, fewer steps are refused with old and new") {
  const World world;
  TrainJob job = world.job("run");
  job.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}, {"eps", 1e-5}})}, {"threads", 1}});
  job.may_change = {"threads"};
  quietly(job);
  const std::string sha = model_sha(job);
  const auto lines = lines_of(job.out + "/run.jsonl").size();
  TrainJob other = job;
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.25}, {"eps", 1e-6}})}, {"threads", 2}});
  const std::string message = refusal(other);
  CHECK(message.find("optimizer.lr was 0.5 and is 0.25") != std::string::npos);
  CHECK(message.find("optimizer.eps was 1e-05 and is 1e-06") != std::string::npos);
  CHECK(message.find("threads") == std::string::npos);
  other = job;
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}})}, {"threads", 1}});
  CHECK(refusal(other).find("optimizer.eps was 1e-05 and is null") != std::string::npos);
  // A key that the run did not know yet: no difference while nobody gives it.
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}, {"eps", 1e-5}, {"new", 7}})}, {"threads", 1}});
  CHECK(refusal(other).find("optimizer.new was null and is 7") != std::string::npos);
  other.defaults = {"optimizer.new", "optimizer.eps"};
  CHECK(refusal(other) == "");
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}, {"eps", 1e-6}})}, {"threads", 1}});
  CHECK(refusal(other).find("optimizer.eps was 1e-05 and is 1e-06") != std::string::npos);
  other = job;
  other.model_dir = world.path("other");
  export_model(other.model_dir, *random_model(byte_config(), 2), loader_test::small_processor());
  CHECK(refusal(other).find("starting_weights was") != std::string::npos);
  CHECK(refusal(other).find("beside it") == std::string::npos);
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}, {"eps", 1e-5}})}, {"threads", 2}});
  CHECK(refusal(other).find("; beside it threads was 1 and is 2. Give") != std::string::npos);
  other.config = job.config;
  fs::copy(job.model_dir, world.path("moved"), fs::copy_options::recursive);
  other.model_dir = world.path("moved");
  CHECK(refusal(other) == "");
  Json changed = Json::read(world.path("moved") + "/config.json");
  Json text = changed.at("text_config");
  text.set("rms_norm_eps", 1e-3);
  changed.set("text_config", text);
  write_durably(world.path("moved") + "/config.json", changed.dump());
  CHECK(refusal(other).find("is of another run: model was") != std::string::npos);
  other.model_dir = job.model_dir;
  other.train.steps = steps - 1;
  CHECK(refusal(other).find("is of step 6, and train.steps is 5") != std::string::npos);
  CHECK(model_sha(job) == sha);
  CHECK(lines_of(job.out + "/run.jsonl").size() == lines + 4);

  other = job;
  other.config = Json::object({{"optimizer", Json::object({{"lr", 0.5}, {"eps", 1e-5}})}, {"threads", 2}});
  CHECK(told(other, world.path("said")).find("resumed from " + job.out + "/checkpoints/step-00000006") !=
        std::string::npos);
  const auto after = lines_of(job.out + "/run.jsonl");
  CHECK(after[after.size() - 2].at("changed").dump() == R"({"threads":[1,2]})");
}

TEST_CASE("a damaged line of run.jsonl is cut off and told; a log that is gone begins with its run line again") {
  const World world;
  const TrainJob job = world.job("run");
  quietly(job);
  const std::string path = job.out + "/run.jsonl", text = read_file(path);
  std::string zeros = text;
  const std::size_t third = text.find("{\"type\":\"step\",\"step\":3");
  for (std::size_t i = third; zeros[i] != '\n'; ++i) zeros[i] = '\0';
  const auto before = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(third), '\n');
  write_durably(path, zeros);
  CHECK(told(job, world.path("said")).find(cat("damaged line: ", path, ":", before + 1, ":")) != std::string::npos);
  auto lines = lines_of(path);
  const Json& resumed = lines[static_cast<std::size_t>(before)];
  CHECK(resumed.at("type").as_string() == "resume");
  CHECK(resumed.at("damaged").dump().find(cat(":", before + 1, ":")) != std::string::npos);
  const std::string bad =
      cat("damaged line: ", path, ":", std::count(text.begin(), text.end(), '\n') + 1, ": expected");
  for (const char* line : {"3", R"({"type":"step","step":"x"})"}) {
    write_durably(path, text + line + "\n");
    CHECK(told(job, world.path("said")).find(bad) != std::string::npos);
  }
  fs::remove(path);
  quietly(job);
  CHECK(lines_of(path)[0].at("type").as_string() == "run");
}

TEST_CASE("a result that could not be written is refused before the first step; what users put into it stays") {
  const World world;
  TrainJob job = world.job("run");
  make_directories(job.out + "/model");
  write_durably(job.out + "/model/thesis.tex", "mine");
  CHECK(refusal(job).find("run/model: holds files but no DONE") != std::string::npos);
  CHECK(!fs::exists(job.out + "/run.jsonl"));
  fs::remove_all(job.out);
  quietly(job);
  write_durably(job.out + "/model/README.md", "mine");
  write_durably(job.out + "/notes.txt", "mine");
  quietly(job);
  CHECK(read_file(job.out + "/model/README.md") == "mine");
  CHECK(read_file(job.out + "/notes.txt") == "mine");
  job.model_dir = job.out + "/model";
  CHECK(refusal(job).find("the run starts from it and would replace it") != std::string::npos);
}
