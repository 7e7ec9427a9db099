// A small random model and random packed rows for tests of the whole.
#pragma once
#include <memory>

#include "base/rng.h"
#include "data/batch.h"
#include "model/onevision.h"
#include "nn/init.h"

namespace ov::test {

inline ModelConfig small_config() {
  ModelConfig c;
  c.vision = {.depth = 2, .hidden = 48, .heads = 3, .intermediate = 96, .patch = 14};
  c.text = {.vocabulary = 97,
            .hidden = 40,
            .intermediate = 72,
            .layers = 2,
            .heads = 4,
            .kv_heads = 2,
            .head_dim = 16,
            .rope_theta = 1e4};
  c.text.tied = true;
  c.image_token = 96;
  return c;
}

inline std::unique_ptr<Onevision> small_model(Dtype dtype = Dtype::f32, std::uint64_t seed = 1) {
  auto model = std::make_unique<Onevision>(small_config());
  model->parameters().allocate(dtype, cpu());
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, seed);
  return model;
}

// The configuration of a model that fits data/tokenizer.
inline ModelConfig answering_config(std::int64_t image_token, std::int64_t max_positions = 512) {
  ModelConfig c;
  c.vision = {.depth = 1, .hidden = 24, .heads = 2, .intermediate = 48};
  c.text = {.vocabulary = 278,
            .hidden = 32,
            .intermediate = 48,
            .layers = 2,
            .heads = 2,
            .kv_heads = 1,
            .head_dim = 16,
            .max_positions = max_positions,
            .rope_theta = 1e4};
  c.text.tied = true;
  c.image_token = image_token;
  return c;
}

// A random model whose answers are nonsense, but never the same for every picture.
inline std::unique_ptr<Onevision> answering_model(const ModelConfig& config, Dtype dtype = Dtype::f32,
                                                  Device& device = cpu()) {
  auto model = std::make_unique<Onevision>(config);
  model->parameters().allocate(dtype, device);
  initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.5, .embedding_std = 0.5}, 3);
  return model;
}
inline std::unique_ptr<Onevision> answering_model(std::int64_t image_token, std::int64_t max_positions = 512,
                                                  Device& device = cpu()) {
  return answering_model(answering_config(image_token, max_positions), Dtype::f32, device);
}

// Adds one sample to a packed row: a picture of h x w patches (none when h is 0), then random text of which the last
// half is labelled.
inline void add_sample(MicroBatch& b, std::uint64_t seed, std::int64_t h, std::int64_t w, std::int64_t text) {
  const Philox random(seed, "test sample");
  const std::int64_t begin = b.tokens(), image = h * w / 4;
  for (std::int64_t i = 0; i < image + text; ++i) {
    const bool is_image = i >= 1 && i <= image;
    const std::int64_t id = is_image ? 96 : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i), 96));
    b.input_ids.push_back(id);
    b.labels.push_back(i > image + text / 2 ? id : ignored_label);
    b.positions.push_back(i);
  }
  b.segments.push_back({begin, image + text, -1});
  b.sample_of_segment.push_back(b.samples++);
  if (h == 0) return;
  const Tensor fresh({h * w, 588}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t i = 0; i < fresh.numel(); ++i)
    fresh.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i) + 1000000);
  const std::int64_t before = b.pixel_values ? b.pixel_values.dim(0) : 0;
  const Tensor all({before + h * w, 588}, Dtype::f32, cpu(), Segment::data);
  if (before) all.slice(0, 0, before).copy_from(b.pixel_values);
  all.slice(0, before, before + h * w).copy_from(fresh);
  b.pixel_values = all;
  b.grids.push_back({1, h, w});
}

inline GlobalStep as_step(std::vector<MicroBatch> rows) {
  GlobalStep step;
  for (const MicroBatch& b : rows) {
    step.samples += b.samples;
    step.tokens += b.tokens();
    for (std::int64_t l : b.labels) step.labelled_tokens += l != ignored_label;
    if (b.pixel_values) step.patches += b.pixel_values.dim(0);
  }
  step.micro_batches = std::move(rows);
  return step;
}

}  // namespace ov::test
