#include <unistd.h>

#include "audit/plan_device.h"
#include "base/progress.h"
#include "cli/verbs.h"
#include "comm/rank_in_job.h"
#include "kernels/gpu/cuda_device.h"
#include "train/stages/job.h"

namespace ov::cli {
namespace {

// Bytes that a rank's step may take, and who says so.
struct Room {
  std::int64_t bytes;
  std::string said;
};
Room room_of(const Config& config, const TrainJob& job) {
  if (job.train.memory_budget > 0) return {job.train.memory_budget, "train.memory_budget"};
  if (auto* gpu = dynamic_cast<gpu::CudaDevice*>(job.device)) {
    // Beside what stands there, and what this process has: of the rest a tenth for blocks that do not join, and for
    // what kernels take inside a call.
    const gpu::Runtime::Memory now = (gpu->enter(), gpu->runtime().memory_info());
    return {(static_cast<std::int64_t>(now.free) + gpu->memory().total) / 10 * 9, "nine tenths of what is free there"};
  }
  const std::int64_t all = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  const int here = rank_here(config).ranks_here();
  return {all / here, here > 1 ? "this machine's, by rank" : "this machine's"};
}

// train.recompute auto.
std::int64_t fitting_blocks(const Config& config, const TrainJob& job, const ModelConfig& model,
                            const GlobalStep& first) {
  PlanOptions options{.dtype = job.dtype,
                      .gpu = job.device->kind != Device::Kind::cpu,
                      .train = job.train,
                      .lora = job.lora,
                      .ranks = job.ranks->ranks(),
                      .rank = job.ranks->rank(),
                      .rows = first.micro_batches};
  options.lora.where = trainable(job.train.modules, false);
  const Room room = room_of(config, job);
  const FittedRun fitted = fit_run(model, options, room.bytes);
  if (job.writes())
    tell(cat("train.recompute ", config.text("train.recompute"), ": ", fitted.recomputed, " of ", fitted.blocks,
             " blocks; a step like the first takes ", static_cast<double>(fitted.bytes) / 1e9, " GB of ",
             static_cast<double>(room.bytes) / 1e9, ", ", room.said,
             fitted.bytes > room.bytes ? ": too much even so" : ""));
  return fitted.recomputed;
}

}  // namespace

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
  const Recompute again = recompute_option(config, true);
  job.recompute = again.on, job.recompute_first = again.first;
  job.untied_head = config.flag("export.untied_head");
  job.lora = lora_options(config);
  job.merged_model = config.flag("lora.merged_model");
  in_ranks(config, [&](Communicator& ranks) {
    const auto trace = share(config, ranks, job);
    if (again.choose)
      job.choose_recompute = [&](const ModelConfig& model, const GlobalStep& first) {
        return fitting_blocks(config, job, model, first);
      };
    config.refuse_unread("beside data.packs, whose index holds what was packed");
    run_training(job);
  });
  return Exit::done;
}

}  // namespace ov::cli
