// Pre-training of the decoder from files to files: what is trained, what is not, and the same bits whatever happens.
#include "train/stages/pretrain_text.h"

#include <doctest/doctest.h>

#include "audit/plan_device.h"
#include "base/parallel.h"
#include "model/files/hf_directory.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/train/training_run.h"

using namespace ov;
using namespace ov::test;

namespace {

constexpr std::int64_t steps = 6;

class World {
 public:
  World() {
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      Json turns = Json::array();
      for (int t = 0; t < i % 3; ++t)
        turns.push(Json::object({{"question", t ? "what shape ?" : "what colour ?"}, {"answer", t ? "ring" : "red"}}));
      lines += Json::object({{"text", "a red ring"}, {"prefix", "a red ring"}, {"turns", turns}}).dump() + "\n";
    }
    write_durably(dir_ / "corpus.jsonl", lines);
  }
  TextPretraining run(const std::string& out) const {
    TextPretraining o;
    o.out = dir_ / out;
    o.model = least_config();
    o.model.text.vocabulary = 0;
    o.init = {.matrix = "uniform_fan_in", .embedding_std = 0.5};
    o.init_seed = 3;
    o.tokenizer_dir = "data/tokenizer";
    o.corpus.files = {dir_ / "corpus.jsonl"};
    o.data.samples_per_micro_batch = 2;
    o.data.micro_batches_per_step = 2;
    o.train = short_run(steps);
    o.save_every = 2;
    return o;
  }

 private:
  ScratchDirectory dir_;
};

StepReport quietly(const TextPretraining& o) {
  return silently([&] { return pretrain_text(o); });
}

std::string model_sha(const TextPretraining& o) { return sha256_file(o.out + "/model/model.safetensors"); }

std::vector<double> losses(const TextPretraining& o) {
  std::vector<double> out;
  JsonlReader reader(o.out + "/run.jsonl");
  for (Json line; reader.next(&line);)
    if (line.at("type").as_string() == "step") out.push_back(line.at("token_loss").as_double());
  return out;
}

}  // namespace

TEST_CASE("pretrain text: the decoder is trained and nothing else, and the result is a complete model directory") {
  const World world;
  const TextPretraining o = world.run("run");
  const StepReport last = quietly(o);
  CHECK(last.step == steps);
  CHECK(last.patches == 0);
  const auto model = load_model(o.out + "/model");
  const Processor processor = Processor::read(o.out + "/model");
  CHECK(model->config().text.vocabulary == processor.tokenizer().vocab_size());  // 0 meant the tokenizer's
  CHECK(model->config().image_token == processor.tokenizer().token_id("<|image_pad|>"));

  Onevision start(model->config());
  start.parameters().allocate(Dtype::f32, cpu());
  initialize(start.parameters(), o.init, o.init_seed);
  for (const auto& e : model->parameters().entries()) {
    const bool same =
        e.parameter.value.to_vector<float>() == start.parameters().find(e.parameter.name)->value.to_vector<float>();
    CHECK_MESSAGE(same == e.parameter.name.starts_with("model.visual."), e.parameter.name);
  }
  const auto loss = losses(o);
  REQUIRE(loss.size() == steps);
  CHECK(loss.back() < loss.front());
}

TEST_CASE(
    "pretrain text: one thread or two, and a run killed anywhere and started again, or recomputed, give the same "
    "bits") {
  const World world;
  const TextPretraining whole = world.run("whole");
  {
    const Threads two(2);
    quietly(whole);
  }
  const Threads one(1);
  for (const int kill : {-1, 5, 40, 75, 110, 140}) {
    const TextPretraining o = world.run(cat("kill", kill));
    if (kill >= 0) {
      const int code = in_child([&] {
        die_at_step(kill);
        quietly(o);
      });
      CHECK(code == 128 + SIGKILL);
    }
    quietly(o);
    CHECK_MESSAGE(model_sha(o) == model_sha(whole), "kill ", kill);
    CHECK(losses(o) == losses(whole));
  }
  TextPretraining again = world.run("recomputed");
  again.recompute = true;
  quietly(again);
  CHECK(model_sha(again) == model_sha(whole));
  TextPretraining other = world.run("other");
  other.init_seed = 4;
  quietly(other);
  CHECK(model_sha(other) != model_sha(whole));
}

TEST_CASE("pretrain text: blocks recomputed as plan chooses for a budget: what a step takes is known to the byte") {
  const World world;
  const Threads one(1);
  const auto peak = [&](const std::string& out, std::int64_t budget, FittedRun& fitted) {
    HostDevice device(Device::Kind::cpu, "own", cpu().table);
    TextPretraining o = world.run(out);
    o.model.text.layers = 4;
    o.save_every = 0;
    o.device = &device;
    o.train.steps = 1;
    o.choose_recompute = [&](const ModelConfig& model, const GlobalStep& first) {
      PlanOptions like{.train = o.train, .rows = first.micro_batches};
      like.train.modules = {"language_model"};
      return (fitted = fit_run(model, like, budget)).recomputed;
    };
    quietly(o);
    CHECK(contains(read_file(o.out + "/run.jsonl"), cat("\"recomputed_blocks\":", fitted.recomputed)));
    return device.memory().total_peak;
  };
  FittedRun none, all, some;
  const std::int64_t most = peak("none", std::int64_t{1} << 40, none);
  const std::int64_t least = peak("all", 1, all);
  CHECK(none.recomputed == 0);
  CHECK(all.recomputed == all.blocks);
  CHECK(none.bytes == most);
  CHECK(all.bytes == least);
  REQUIRE(least < most);
  CHECK(peak("some", most - 1, some) == some.bytes);
  CHECK(some.bytes < most);
  CHECK(model_sha(world.run("some")) == model_sha(world.run("none")));
}

TEST_CASE("pretrain text: a mixture of experts, killed and started again, gives the same bits") {
  const World world;
  const auto mixture = [&](const std::string& out) {
    TextPretraining o = world.run(out);
    o.model.text.experts = 4, o.model.text.experts_per_token = 2, o.model.text.expert_intermediate = 8;
    o.train.aux_global = true;
    return o;
  };
  const TextPretraining whole = mixture("whole"), cut = mixture("cut");
  const int code = in_child([&] {
    die_at_step(60);
    quietly(cut);
  });
  CHECK(code == 128 + SIGKILL);
  quietly(whole);
  quietly(cut);
  CHECK(model_sha(cut) == model_sha(whole));
  CHECK(losses(cut) == losses(whole));
  CHECK(load_model(cut.out + "/model")->config().text.experts == 4);
}

TEST_CASE("pretrain text: a model directory is gone on with, with its own tokenizer") {
  const World world;
  const TextPretraining first = world.run("first");
  quietly(first);
  TextPretraining second = world.run("second");
  second.model_dir = first.out + "/model";
  second.tokenizer_dir = "";
  quietly(second);
  CHECK(losses(second).front() < losses(first).front());
  CHECK(model_sha(second) != model_sha(first));
}

TEST_CASE("pretrain text: a vocabulary that cannot hold the tokenizer is refused") {
  const World world;
  TextPretraining o = world.run("small");
  o.model.text.vocabulary = 100;
  std::string said;
  try {
    quietly(o);
  } catch (const Error& e) { said = e.what(); }
  CHECK(said == "text.vocabulary is 100, the tokenizer in data/tokenizer has 278 tokens");
}
