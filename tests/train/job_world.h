// A training job on ten pictures, run in this process or in a child that is killed.
#pragma once
#include <doctest/doctest.h>

#include <filesystem>
#include <functional>

#include "base/parallel.h"
#include "data/synth/lessons.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/check.h"
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

inline StepReport quietly(const TrainJob& job) {
  return silently([&] { return run_training(job); });
}

inline std::string refusal(const TrainJob& job, Exit exit = Exit::wrong_input) {
  return thrown([&] { quietly(job); }, exit);
}

// The job in a child process, which has no threads of its parent's: it makes its own.
inline int in_child(const TrainJob& job, const std::function<void()>& prepare) {
  return ov::in_child([&] {
    prepare();
    set_threads(2);
    quietly(job);
  });
}

inline std::string model_sha(const TrainJob& job) { return sha256_file(job.out + "/model/model.safetensors"); }

inline std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> lines;
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) lines.push_back(line);
  return lines;
}

// What a log says of its steps, but for times.
inline std::string steps_of(const TrainJob& job) {
  std::string said;
  for (Json line : lines_of(job.out + "/run.jsonl"))
    if (line.at("type").as_string() == "step") {
      for (const char* time : {"seconds", "data_seconds", "tokens_per_second", "samples_per_second", "mfu"})
        line.set(time, 0);
      said += line.dump() + "\n";
    }
  return said;
}

}  // namespace ov::test
