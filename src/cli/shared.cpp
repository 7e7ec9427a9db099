#include <cstdio>

#include "base/parallel.h"
#include "cli/verbs.h"

namespace ov::cli {

void use_threads(const Config& config) {
  if (const std::int64_t n = config.integer("threads")) set_threads(static_cast<int>(n));
}

PixelLimits pixel_limits(const Config& config) {
  PixelLimits limits;
  if (const std::int64_t n = config.integer("data.min_pixels")) limits.min_pixels = n;
  if (const std::int64_t n = config.integer("data.max_pixels")) limits.max_pixels = n;
  return limits;
}

LoadOptions load_options(const Config& config) {
  return {.reference = config.text("numerics.reference"),
          .hf_shift_bug = config.flag("numerics.hf_shift_bug"),
          .pre_norm_eps = config.number("numerics.pre_norm_eps"),
          .merger_norm_eps = config.number("numerics.merger_norm_eps")};
}

ModelConfig described_model(const Config& config) {
  ModelConfig model;
  model.vision.depth = config.integer("vision.depth");
  model.vision.hidden = config.integer("vision.hidden");
  model.vision.heads = config.integer("vision.heads");
  model.vision.intermediate = config.integer("vision.intermediate");
  model.vision.patch = config.integer("vision.patch");
  model.vision.merge = config.integer("vision.merge");
  model.text.vocabulary = config.integer("text.vocabulary");
  model.text.hidden = config.integer("text.hidden");
  model.text.intermediate = config.integer("text.intermediate");
  model.text.layers = config.integer("text.layers");
  model.text.heads = config.integer("text.heads");
  model.text.kv_heads = config.integer("text.kv_heads");
  model.text.head_dim = config.integer("text.head_dim");
  model.text.max_positions = config.integer("text.max_positions");
  model.text.rope_theta = config.number("text.rope_theta");
  model.text.norm_eps = config.number("text.norm_eps");
  model.text.qkv_bias = config.flag("text.qkv_bias");
  model.text.tied = config.flag("text.tied");
  return model;
}

InitOptions init_options(const Config& config) {
  return {.matrix = config.text("init.matrix"),
          .matrix_std = config.number("init.matrix_std"),
          .projection_out_std = config.number("init.projection_out_std"),
          .embedding_std = config.number("init.embedding_std"),
          .patch_embedding_std = config.number("init.patch_embedding_std"),
          .class_vector_std = config.number("init.class_vector_std"),
          .class_angles_std = config.number("init.class_angles_std")};
}

OptimizerOptions optimizer_options(const Config& config) {
  return {.beta1 = config.number("optimizer.beta1"),
          .beta2 = config.number("optimizer.beta2"),
          .eps = config.number("optimizer.eps"),
          .weight_decay = config.number("optimizer.weight_decay"),
          .clip_grad = config.number("optimizer.clip_grad"),
          .no_decay = config.list("optimizer.no_decay")};
}

Schedule schedule_options(const Config& config) {
  return {.peak = config.number("optimizer.lr"),
          .min = config.number("optimizer.min_lr"),
          .warmup = config.number("schedule.warmup"),
          .decay = config.text("schedule.decay"),
          .steps = config.integer("train.steps"),
          .first_step = config.integer("schedule.first_step")};
}

Dtype dtype_named(const std::string& name) { return name == "f64" ? Dtype::f64 : Dtype::f32; }

void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) machine_error("stdout: cannot write");
}

}  // namespace ov::cli
