#include "audit/plan_device.h"

#include "cli/verbs.h"
#include "image/patches.h"

namespace ov::cli {

PlanOptions plan_options(const Config& config, const VisionConfig& vision) {
  ProcessorConfig images;
  images.patch = vision.patch;
  images.merge = vision.merge;
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
  options.train.train_class_params = class_params_option(config);
  return options;
}

Exit plan(const Config& config) {
  use_threads(config);
  const std::string& directory = config.text("model.dir");
  ModelConfig model;
  if (directory.empty()) model.vision = described_vision(config), model.text = described_text(config);
  else model = read_model_config(directory);
  model.check();
  const PlanOptions options = plan_options(config, model.vision);
  const std::string& device = config.text("plan.device");
  const std::string& devices = config.text("plan.devices");
  const double mfu = config.number("plan.mfu");
  config.refuse_unread("on a model that exists");
  if (device.empty()) return print(plan_model(model, options).report()), Exit::done;
  const DevicePlan plan = plan_on(find_device(devices, device), model, options, mfu);
  print(plan.step.plan.report() + plan.report());
  return Exit::done;
}

}  // namespace ov::cli
