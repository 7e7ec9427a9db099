#include "audit/plan.h"

#include "cli/verbs.h"
#include "image/patches.h"
#include "train/trainer.h"

namespace ov::cli {

Exit plan(const Config& config) {
  const std::string& directory = config.text("model.dir");
  const ModelConfig model = directory.empty() ? described_model(config) : read_model_config(directory);
  ProcessorConfig images;
  images.patch = model.vision.patch;
  images.merge = model.vision.merge;
  const auto grid = patch_grid({config.integer("plan.width"), config.integer("plan.height")}, images);
  const auto count = static_cast<std::size_t>(config.integer("plan.images"));
  const Plan plan = plan_model(
      model, {.grids = std::vector<Grid>(count, {grid[0], grid[1], grid[2]}),
              .text_tokens = config.integer("plan.text_tokens"),
              .labelled = config.integer("plan.labelled"),
              .dtype = dtype_named(config.text("dtype")),
              .recompute = config.flag("train.recompute"),
              .trainable = trainable(config.list("train.modules"), config.flag("train.train_class_params"))});
  print(plan.report());
  return Exit::done;
}

}  // namespace ov::cli
