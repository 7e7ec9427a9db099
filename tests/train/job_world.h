// A training job on ten pictures, run in this process or in a child that is killed.
#pragma once
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "base/parallel.h"
#include "data/synth/lessons.h"
#include "store/jsonl.h"
#include "tests/data/loader_fixture.h"
#include "tests/train/training_run.h"
#include "train/stages/job.h"

namespace ov::test {

namespace fs = std::filesystem;

constexpr std::int64_t steps = 6;

// Ten pictures with their conversations, and a model that has seen none of them.
class World {
 public:
  World() {
    synth::write_lessons({.out_dir = path("data"), .seed = 4, .count = 10, .data_dir = "data/toy_world"});
    export_model(path("start"), *random_model(byte_config()), loader_test::small_processor());
  }
  std::string path(const std::string& name) const { return dir_ / name; }

  TrainJob job(const std::string& out) const {
    TrainJob j;
    j.model_dir = path("start");
    j.out = path(out);
    j.data.json = path("data/conversations.json");
    j.data.samples_per_micro_batch = 2;
    j.data.micro_batches_per_step = 2;
    j.train = short_run(steps);
    j.save_every = 2;
    j.config = Json::object({{"train.steps", steps}});
    return j;
  }

 private:
  ScratchDirectory dir_;
};

// Progress bars are not what a test's reader wants to see.
inline StepReport quietly(const TrainJob& job) {
  std::fflush(nullptr);
  const int kept = ::dup(2), null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, 2);
  ::close(null);
  const auto restore = [&] {
    std::fflush(nullptr);
    ::dup2(kept, 2);
    ::close(kept);
  };
  try {
    const StepReport report = run_training(job);
    restore();
    return report;
  } catch (...) {
    restore();
    throw;
  }
}

inline std::string refusal(const TrainJob& job, Exit exit = Exit::wrong_input) {
  try {
    quietly(job);
  } catch (const Error& e) {
    CHECK(e.exit() == exit);
    CHECK(std::string(e.what()).find('\n') == std::string::npos);
    return e.what();
  }
  return "";
}

// The job in a child process. Its exit code: that of main, or 128 + the signal that ended it.
inline int in_child(const TrainJob& job, const std::function<void()>& prepare) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    prepare();
    set_threads(2);
    int code = 0;
    try {
      quietly(job);
    } catch (const Error& e) { code = static_cast<int>(e.exit()); }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline std::string model_sha(const TrainJob& job) { return sha256_file(job.out + "/model/model.safetensors"); }

inline std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> lines;
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) lines.push_back(line);
  return lines;
}

// Threads do not survive a fork(); the child makes its own.
struct OneThread {
  int before = threads();
  OneThread() { set_threads(1); }
  ~OneThread() { set_threads(before); }
};

}  // namespace ov::test
