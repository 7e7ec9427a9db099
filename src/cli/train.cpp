#include "cli/verbs.h"
#include "train/stages/job.h"

namespace ov::cli {
namespace {

LoaderOptions loader_options(const Config& config) {
  LoaderOptions data;
  data.json = config.text("data.json");
  data.image_dir = config.text("data.image_dir");
  data.sample.turns = turn_layout(config.text("data.turns"));
  data.sample.max_tokens = config.integer("train.max_tokens");
  data.limits = pixel_limits(config);
  data.samples_per_micro_batch = config.integer("train.micro_batch_samples");
  data.micro_batches_per_step = config.integer("train.micro_batches");
  data.seed = config.integer("data.seed");
  data.max_rejects = config.integer("data.max_rejects");
  return data;
}

PackedLoaderOptions packs_options(const Config& config) {
  PackedLoaderOptions packs;
  packs.index = config.text("data.packs");
  packs.limits = pixel_limits(config);
  packs.packs_per_step = config.integer("train.micro_batches");
  packs.seed = config.integer("data.seed");
  packs.max_rejects = config.integer("data.max_rejects");
  return packs;
}

TrainOptions train_options(const Config& config) {
  TrainOptions train;
  train.steps = config.integer("train.steps");
  train.schedule = schedule_options(config);
  train.optimizer = optimizer_options(config);
  train.optimizer.visual_lr_scale = config.number("optimizer.lr_scale.visual");
  train.normalise_by = normalise_by(config.text("loss.normalise_by"));
  train.tree = config.text("train.grad_sum") == "tree";
  train.modules = config.list("train.modules");
  train.train_class_params = config.flag("train.train_class_params");
  train.checksum_every = config.integer("log.checksum_every");
  train.floor = config.flag("log.floor");
  return train;
}

}  // namespace

Exit train(const Config& config) {
  use_threads(config);
  if (config.text("data.packs").empty() == config.text("data.json").empty())
    input_error("train: give either data.json, a conversation file, or data.packs, an index that pack wrote");
  run_training({.model_dir = config.required("model.dir"),
                .out = config.required("train.out"),
                .data = loader_options(config),
                .packs = packs_options(config),
                .train = train_options(config),
                .dtype = dtype_named(config.text("dtype")),
                .reference = config.text("numerics.reference"),
                .hf_shift_bug = config.flag("numerics.hf_shift_bug"),
                .recompute = config.flag("train.recompute"),
                .save_every = config.integer("train.save_every"),
                .keep = config.integer("train.keep"),
                .resume = config.flag("train.resume"),
                .log_every = config.integer("log.every"),
                .config = config.dump()});
  return Exit::done;
}

}  // namespace ov::cli
