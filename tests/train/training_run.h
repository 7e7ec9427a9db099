// Short runs for tests of checkpoints and of the training job: a model that reads the 256-byte tokenizer, and what a
// run left behind.
#pragma once
#include <bit>
#include <map>
#include <optional>
#include <string>

#include "base/io/file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "store/hf_weights.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"
#include "train/checkpoint.h"
#include "train/checkpoint_parts.h"
#include "train/engine.h"

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

// What n further steps report, to the bit.
inline std::string steps_of(StepEngine& engine, int n) {
  std::string said;
  for (int i = 0; i < n; ++i) {
    const StepReport r = engine.step();
    said += cat(r.step, " ", std::bit_cast<std::uint64_t>(r.loss), " ", std::bit_cast<std::uint64_t>(r.gradient_norm),
                " ", r.parts.dump(), " ", r.tokens, " ", r.labelled, " ", r.products, " ", r.checksums->batch, " ",
                r.checksums->loss, " ", r.checksums->gradients, " ", r.checksums->parameters, "\n");
  }
  return said;
}

inline std::optional<std::string> newest_checkpoint(const std::string& out) {
  const auto all = checkpoints(out);
  return all.empty() ? std::nullopt : std::optional(all.back());
}

// Weights and moments of a checkpoint, whoever wrote it.
inline std::string saved_bits(const std::string& checkpoint) {
  Sha256 hash;
  const auto add = [&](const std::string& name, const Tensor& t) {
    const std::string said = cat(name, " ", name_of(t.dtype()), " ", t.shape().str());
    hash.update(said.data(), said.size()), hash.update(t.bytes(), t.nbytes());
  };
  const CheckpointReader weights = CheckpointReader::open(checkpoint);
  std::map<std::string, Shape> shapes;
  for (const auto& e : weights.entries()) shapes[e.name] = e.shape;
  for (const auto& [name, shape] : shapes) add(name, weights.tensor(name));
  const SavedMoments moments = SavedMoments::open(checkpoint);
  std::int64_t place = 0;
  for (std::size_t at = 0, end; (end = moments.trained().find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string name = moments.trained().substr(at, end - at);
    const std::int64_t n = shapes.at(name).numel();
    for (const int which : {0, 1}) add(name, moments.tensor(which, name, place, n));
    place += n;
  }
  return hash.hex() + moments.steps();
}

// Parameters, moments, step and data position: all that a run goes on from.
inline std::string sha256_of(StepEngine& engine) {
  Sha256 hash;
  const TrainingState state = engine.state();
  for (const Tensor& t : {state.parameters.values(), state.optimizer.first_moment(), state.optimizer.second_moment()})
    hash.update(t.bytes(), t.nbytes());
  const std::string rest = cat(state.step, " ", state.optimizer.steps(), " ", state.data.dump());
  hash.update(rest.data(), rest.size());
  return hash.hex();
}

inline void load_into(StepEngine& engine, const std::string& checkpoint) {
  TrainingState state = engine.state();
  load_checkpoint(checkpoint, checked_checkpoint(checkpoint), state);
  engine.restore(state);
}

}  // namespace ov::test
