// A training run with LoRA: only what stands beside the matrices is learnt, and the same bits come out whatever happens
// in between.
#include <doctest/doctest.h>

#include "base/io/durable_directory.h"
#include "model/files/hf_directory.h"
#include "model/files/lora.h"
#include "tests/base/scratch.h"
#include "tests/comm/forked_ranks.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

const LoraOptions every = {.rank = 3, .alpha = 6, .targets = {"all-linear"}};

std::unique_ptr<Onevision> adapted_model(const LoraOptions& lora, Dtype dtype = Dtype::f32) {
  ModelConfig config = small_config();
  config.text.experts = 3, config.text.experts_per_token = 2, config.text.expert_intermediate = 12;
  config.text.mlp_only_layers = {1};
  auto model = std::make_unique<Onevision>(config);
  model->parameters().adapt(lora);
  model->parameters().allocate(dtype, cpu());
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
  return model;
}

struct Trained {
  std::string sha;
  std::unique_ptr<Onevision> model;
};
Trained train(int threads, bool recompute, bool resumed, Dtype dtype = Dtype::f32, double dropout = 0,
              const LoraOptions& chosen = every) {
  const int before = ov::threads();
  set_threads(threads);
  const std::vector<GlobalStep> steps = {as_step({mixed_row(1), mixed_row(2), mixed_row(3)}), as_step({mixed_row(4)})};
  const ScratchDirectory dir;
  Trained out;
  LoraOptions lora = chosen;
  lora.dropout = dropout;
  for (int part = resumed ? 0 : 1; part < 2; ++part) {
    out.model = adapted_model(lora, dtype);
    out.model->recompute_blocks = recompute;
    FixedSteps data(steps);
    Training training(*out.model, data, short_run(5));
    if (part == 1 && resumed) load_into(training, newest_checkpoint(dir.path()).value());
    for (int i = part == 1 && resumed ? 2 : 0; i < (part ? 5 : 2); ++i) training.step();
    if (part == 0) save_checkpoint(dir.path(), training.state(), Json::object());
    CHECK(training.optimizer().first_moment().numel() == out.model->parameters().trained());
    out.sha = sha256_of(training);
  }
  set_threads(before);
  return out;
}

}  // namespace

TEST_CASE("lora: five steps have the same bits for any threads, recomputed or not, killed and resumed or not") {
  const std::string one = train(1, false, false).sha;
  CHECK(train(2, true, false).sha == one);
  CHECK(train(2, false, true).sha == one);
  CHECK(train(3, true, true).sha == one);
  const std::string dropped = train(1, false, false, Dtype::f32, 0.3).sha;
  CHECK(dropped != one);
  CHECK(train(2, true, false, Dtype::f32, 0.3).sha == dropped);
  CHECK(train(3, true, true, Dtype::f32, 0.3).sha == dropped);
}

TEST_CASE("lora: where nothing before the language model learns, its first block does, recomputed or not") {
  LoraOptions language = every;
  language.targets = {"*language_model*_proj"};
  const Trained kept = train(1, false, false, Dtype::f32, 0, language);
  CHECK(train(2, true, true, Dtype::f32, 0, language).sha == kept.sha);
  std::int64_t learnt = 0;
  for (const auto& e : kept.model->parameters().entries())
    if (const Parameter& p = e.parameter; p.role == Role::lora_b && p.name.find("layers.0.self_attn") != p.name.npos)
      learnt += gradient_norm(p.value.flat()) > 0;
  CHECK(learnt == 4);  // q, k, v, o
}

TEST_CASE("lora dropout: two and four ranks, with ZeRO too, drop what one rank drops") {
  const auto steps = [](Communicator& ranks, int zero) {
    LoraOptions lora = every;
    lora.dropout = 0.3;
    const auto model = adapted_model(lora);
    FixedSteps data({as_step({mixed_row(1), mixed_row(2), mixed_row(3), mixed_row(4)})});
    TrainOptions options = short_run(3);
    options.zero = zero;
    LanguageObjective objective(*model, data, options);
    StepEngine engine(objective, options, ranks);
    std::string said;
    for (int i = 0; i < 3; ++i) {
      const Checksums sums = *engine.step().checksums;
      said += cat(sums.loss, " ", sums.gradients, " ", sums.parameters, "\n");
    }
    return said;
  };
  const std::string one = steps(one_rank(), 0);
  for (const auto& [n, zero] : {std::pair{2, 0}, {4, 1}, {2, 2}})
    for (const Ended& e : in_ranks(n, 60, [&, zero = zero](ProcessRanks& ranks) {
           if (steps(ranks, zero) != one) input_error("other bits");
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("lora: base weights keep their bits and have neither masters nor moments; every A and B has learnt") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const auto start = adapted_model(every, dtype), trained = train(2, false, false, dtype).model;
    const Parameters &before = start->parameters(), &after = trained->parameters();
    std::int64_t learnt = 0;
    for (std::size_t i = 0; i < before.entries().size(); ++i) {
      const Parameter &was = before.entries()[i].parameter, &is = after.entries()[i].parameter;
      CHECK_MESSAGE(equal_bits(was.value, is.value) == !is_lora(is), is.name);
      if (is.role == Role::lora_b) CHECK(gradient_norm(was.value.to(Dtype::f32).flat()) == 0);
      CHECK(is.trainable == is_lora(is));
      if (is_lora(is)) learnt += is.value.numel();
    }
    CHECK(after.trained() == learnt);
    if (dtype == Dtype::bf16) CHECK(after.masters().numel() == learnt);
    // Of the tower, the merger, attention, router, experts and a dense layer; not the patches, the table or the head.
    for (const char* name :
         {"model.visual.blocks.1.attn.qkv", "model.visual.merger.mlp.2", "model.language_model.layers.0.mlp.gate",
          "model.language_model.layers.0.mlp.experts.2.up_proj", "model.language_model.layers.1.mlp.up_proj",
          "model.language_model.layers.1.self_attn.k_proj"})
      CHECK_MESSAGE(trained->parameters().find(cat(name, ".lora_A.weight")), name);
    for (const char* name : {"model.visual.patch_embed.proj", "model.language_model.embed_tokens"})
      CHECK_MESSAGE(!trained->parameters().find(cat(name, ".lora_A.weight")), name);
  }
}

TEST_CASE("lora: a run leaves an adapter that its start takes, and the model with it in its weights") {
  const World world;
  TrainJob job = world.job("run"), cut = world.job("cut"), more = world.job("more");
  job.lora = {.rank = 4, .alpha = 8, .targets = {"q_proj", "v_proj", "fc1", "mlp.0"}};
  cut.lora = job.lora, cut.train.steps = 4, cut.merged_model = false;
  quietly(job);
  const auto model = load_model(job.out + "/model"),
             merged = load_model(job.model_dir, {.adapter = job.out + "/adapter"});
  CHECK(equal_bits(model->parameters().values(), merged->parameters().values()));
  CHECK_FALSE(equal_bits(model->parameters().values(), load_model(job.model_dir)->parameters().values()));
  const Safetensors file = Safetensors::open(job.out + "/adapter/adapter_model.safetensors");
  CHECK(file.entries().size() == 2 * (2 * 2 + 2 + 1));
  CHECK(file.find("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"));
  CHECK(DurableDirectory::complete(job.out + "/adapter"));

  quietly(cut);  // the schedule is another one: only the form is looked at
  CHECK(!fs::exists(cut.out + "/model"));
  more.lora = job.lora, more.lora.start = job.out + "/adapter";
  more.train.optimizer.clip_grad = 0, more.train.schedule = {.peak = 0, .min = 0};
  quietly(more);
  CHECK(read_file(more.out + "/adapter/adapter_model.safetensors") ==
        read_file(job.out + "/adapter/adapter_model.safetensors"));

  TrainJob only = world.job("only");
  only.lora = {.rank = 2, .targets = {"all-linear"}};
  only.train.modules = {"adapter"};
  quietly(only);
  const Safetensors merger = Safetensors::open(only.out + "/adapter/adapter_model.safetensors");
  CHECK(merger.entries().size() == 4);
  for (const auto& e : merger.entries()) CHECK(contains(e.name, "model.visual.merger.mlp."));
}
