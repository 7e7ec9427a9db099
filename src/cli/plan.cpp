#include "audit/plan.h"

#include "cli/verbs.h"
#include "image/patches.h"

namespace ov::cli {

Exit plan(const Config& config) {
  use_threads(config);
  const std::string& directory = config.text("model.dir");
  ModelConfig model;
  if (directory.empty()) model.vision = described_vision(config), model.text = described_text(config);
  else model = read_model_config(directory);
  model.check();
  ProcessorConfig images;
  images.patch = model.vision.patch;
  images.merge = model.vision.merge;
  const auto grid = patch_grid({config.integer("plan.width"), config.integer("plan.height")}, images);
  const auto count = static_cast<std::size_t>(config.integer("plan.images"));
  PlanOptions options{.grids = std::vector<Grid>(count, {grid[0], grid[1], grid[2]}),
                      .text_tokens = config.integer("plan.text_tokens"),
                      .labelled = config.integer("plan.labelled"),
                      .micro_batches = config.integer("train.micro_batches"),
                      .dtype = dtype_option(config),
                      .recompute = config.flag("train.recompute"),
                      .train = {}};
  sum_options(config, options.train);
  options.train.modules = config.list("train.modules");
  options.train.train_class_params = config.flag("train.train_class_params");
  config.refuse_unread("on a model that exists");
  print(plan_model(model, options).report());
  return Exit::done;
}

}  // namespace ov::cli
