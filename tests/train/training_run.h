// Short runs for tests of checkpoints and of the training job: a model that reads the 256-byte tokenizer, and what a
// run left behind.
#pragma once
#include <optional>
#include <string>

#include "base/io/file.h"
#include "base/sha256.h"
#include "store/hf_weights.h"
#include "tests/model/packed_rows.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace ov::test {

// small_config() with the vocabulary of data/tokenizer.
inline ModelConfig byte_config() {
  ModelConfig c = small_config();
  c.text.vocabulary = 278;
  c.image_token = 268;
  c.video_token = 269;
  c.vision_start_token = 265;
  return c;
}

inline std::unique_ptr<Onevision> random_model(const ModelConfig& config, std::uint64_t seed = 1) {
  auto model = std::make_unique<Onevision>(config);
  model->parameters().allocate(Dtype::f32, cpu());
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, seed);
  return model;
}

// One block and one layer of the least widths: a save of it is hundreds of steps on the disk, but no work.
inline ModelConfig least_config() {
  ModelConfig c = small_config();
  c.vision = {.depth = 1, .hidden = 8, .heads = 2, .intermediate = 8, .patch = 14};
  c.text = {.vocabulary = 97,
            .hidden = 8,
            .intermediate = 8,
            .layers = 1,
            .heads = 2,
            .kv_heads = 1,
            .head_dim = 4,
            .rope_theta = 1e4};
  c.text.tied = true;
  return c;
}

inline TrainOptions short_run(std::int64_t steps) {
  TrainOptions o;
  o.steps = steps;
  o.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0.1, .first_step = 1};
  o.optimizer.weight_decay = 0.1;
  return o;
}

inline void save_checkpoint(const std::string& out, const Trainer& trainer, const Json& about) {
  ov::save_checkpoint(
      out, {trainer.model().parameters(), trainer.optimizer(), trainer.steps_done(), trainer.data().state()}, about);
}

inline std::optional<std::string> newest_checkpoint(const std::string& out) {
  const auto all = checkpoints(out);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

inline void load_checkpoint(const std::string& directory, Trainer& trainer) {
  TrainingState state{trainer.model().parameters(), trainer.optimizer()};
  ov::load_checkpoint(directory, checked_checkpoint(directory), state);
  trainer.data().restore(state.data);
  trainer.resumed_at(state.step);
}

// Parameters, moments, step and data position: all that a run goes on from.
inline std::string sha256_of(const Trainer& trainer) {
  Sha256 hash;
  for (const Tensor& t :
       {trainer.model().parameters().values(), trainer.optimizer().first_moment(), trainer.optimizer().second_moment()})
    hash.update(t.bytes(), t.nbytes());
  const std::string rest =
      cat(trainer.steps_done(), " ", trainer.optimizer().steps(), " ", trainer.data().state().dump());
  hash.update(rest.data(), rest.size());
  return hash.hex();
}

}  // namespace ov::test
