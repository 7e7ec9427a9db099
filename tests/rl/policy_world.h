// A random model and pictures with questions, for tests of RL.
#pragma once
#include <cmath>
#include <filesystem>

#include "generate/generate.h"
#include "rl/job.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/data/loader_fixture.h"
#include "tests/train/training_run.h"
#include "train/stages/job.h"
#include "train/stages/model_directory.h"

namespace ov::test {

using rl::Group;  // of answers; ov::Group is one of ranks

using namespace rl;
using rl::Group;  // not the communicator

// Pictures with questions, and a random model. Bytes that it writes are letters often enough to be like one of the
// answers, so that groups of different and of equal rewards both come up.
class Lessons {
 public:
  Lessons() {
    export_model(path("start"), *random_model(byte_config()), loader_test::small_processor());
    std::string lines;
    std::vector<std::string> letters;
    for (char c = 'a'; c <= 'z'; ++c) letters.push_back(std::string(1, c));
    for (int i = 0; i < 12; ++i)
      lines += Json::object({{"id", cat("r", i)},
                             {"images", std::vector<std::string>{"tiny.png"}},
                             {"problem", cat("<image>\nwhat is ", i, " ?")},
                             {"answer", letters},
                             {"answer_type", "ocrtext"}})
                   .dump() +
               "\n";
    write_durably(path("records.jsonl"), lines);
    std::filesystem::copy_file("tests/golden/images_fast/tiny.png", path("tiny.png"));
  }
  std::string path(const std::string& name) const { return dir_ / name; }

  RlJob job(const std::string& out, std::int64_t steps = 4) const {
    RlJob j;
    j.model_dir = path("start"), j.out = path(out);
    j.records = path("records.jsonl");
    j.policy.order.prompts = 3;
    j.policy.rollouts = {.group = 4, .max_new_tokens = 6, .style = PromptStyle::plain};
    j.train = short_run(steps);
    j.save_every = 1;
    j.config = Json::object({{"train.steps", steps}});
    return j;
  }

 private:
  ScratchDirectory dir_;
};

struct Prepared {
  explicit Prepared(const Lessons& lessons, std::int64_t group = 6, std::int64_t tokens = 2)
      : records(lessons.path("records.jsonl"), "") {
    options.order.prompts = 3,
    options.rollouts = {.group = group, .max_new_tokens = tokens, .style = PromptStyle::plain};
    options.rollouts.stop = {265};
    model->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
  }
  PolicyObjective objective() { return {*model, processor, records, options}; }
  std::unique_ptr<Onevision> model = random_model(byte_config());
  Processor processor = loader_test::small_processor();
  RecordFile records;
  PolicyOptions options;
};

inline double relative_gap(const std::vector<float>& a, const std::vector<float>& b) {  // |a - b| / |b|
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d, length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / length);
}

// The same rollouts, written by the f32 model on the CPU, trained in f32 there and in bf16 on `device`: the relative
// difference of the losses, and the cosine of the gradients.
inline std::pair<double, double> bf16_step_beside_f32(const Lessons& lessons, Device& device) {
  Prepared world(lessons);
  world.options.advantages.reward_norm = world.options.advantages.adv_norm = std::nullopt;  // else the loss is about 0
  PolicyObjective writer = world.objective();
  writer.prepare(0);
  struct Given : PolicyObjective {
    Given(Onevision& model, const Prepared& w, const PolicyObjective& from)
        : PolicyObjective(model, w.processor, w.records, w.options) {
      for (const auto& g : from.groups()) groups.push_back(*g);
    }
    Loaded prepare(std::int64_t step) override {
      std::vector<std::unique_ptr<Group>> own;
      for (const Group& g : groups) own.push_back(std::make_unique<Group>(g));
      return load(step, std::move(own));
    }
    std::vector<Group> groups;
  };
  const auto step = [&](Dtype dtype, Device& on) {
    LoadOptions load;
    load.dtype = dtype, load.device = &on;
    const auto files = open_model_files(lessons.path("start"), load);
    const auto model = load_model(files.config, lessons.path("start"), load);
    model->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
    Given objective(*model, world, writer);
    StepEngine engine(objective, short_run(2));
    load_masters(*model, lessons.path("start"));
    const StepReport report = engine.step();
    return std::pair(report.loss, engine.gradients().to(cpu()).to(Dtype::f32).to_vector<float>());
  };
  const auto [a, f] = step(Dtype::f32, cpu());
  const auto [b, g] = step(Dtype::bf16, device);
  double ff = 0, gg = 0, fg = 0;
  for (std::size_t i = 0; i < f.size(); ++i) {
    const auto x = static_cast<double>(f[i]), y = static_cast<double>(g[i]);
    ff += x * x, gg += y * y, fg += x * y;
  }
  return {(b - a) / std::abs(a), fg / std::sqrt(ff * gg)};
}

// What the log of a run says of its steps' bits.
inline std::vector<std::string> step_checksums(const std::string& out) {
  std::vector<std::string> all;
  JsonlReader lines(out + "/run.jsonl");
  for (Json line; lines.next(&line);)
    if (line.at("type").as_string() == "step") all.push_back(line.at("checksums").dump());
  return all;
}

}  // namespace ov::test
