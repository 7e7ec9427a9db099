#include "audit/plan_device.h"
#include "cli/verbs.h"
#include "train/stages/job.h"

namespace ov::cli {

Exit train(const Config& config) {
  use_threads(config);
  const bool packed = !config.text("data.packs").empty();
  if (packed != config.text("data.json").empty())
    input_error("train: give either data.json, a conversation file, or data.packs, an index that pack wrote");
  TrainJob job;
  static_cast<RunOptions&>(job) = run_options(config);
  job.model_dir = config.required("model.dir");
  if (packed) {
    job.packs.index = config.text("data.packs");
    job.packs.limits = picture_options(config);
    job.packs.packs_per_step = config.integer("train.micro_batches");
    job.packs.seed = config.integer("data.seed");
    job.packs.max_rejects = config.integer("data.max_rejects");
  } else {
    job.data = loader_options(config, "data.seed");
    job.data.json = config.text("data.json");
    job.data.image_dir = config.text("data.image_dir");
    job.data.manifest = config.text("data.manifest");
    job.data.sample.turns = turn_layout(config.text("data.turns"));
    job.data.sample.max_tokens = config.integer("train.max_tokens");
    job.data.limits = picture_options(config);
  }
  job.train = train_options(config);
  job.train.optimizer.visual_lr_scale = config.number("optimizer.lr_scale.visual");
  job.train.modules = config.list("train.modules");
  job.train.train_class_params = class_params_option(config);
  job.dtype = dtype_option(config);
  job.reference = config.text("numerics.reference");
  job.hf_shift_bug = config.flag("numerics.hf_shift_bug");
  job.pre_norm_eps = config.number("numerics.pre_norm_eps");
  job.merger_norm_eps = config.number("numerics.merger_norm_eps");
  const Recompute again = recompute_option(config);
  job.recompute = again.on, job.recompute_first = again.first;
  job.untied_head = config.flag("export.untied_head");
  job.lora = lora_options(config);
  job.merged_model = config.flag("lora.merged_model");
  in_ranks(config, [&](Communicator& ranks) {
    const auto trace = share(config, ranks, job);
    if (again.choose)
      job.choose_recompute = [&](const ModelConfig& model, const GlobalStep& first) {
        PlanOptions like{.dtype = job.dtype, .train = job.train, .lora = job.lora};
        like.lora.where = trainable(job.train.modules, false);
        return fitting_blocks(config, job, like, model, first);
      };
    config.refuse_unread("beside data.packs, whose index holds what was packed");
    run_training(job);
  });
  return Exit::done;
}

}  // namespace ov::cli
