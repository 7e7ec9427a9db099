#include "audit/plan_mesh.h"

#include "cli/plan_words.h"
#include "cli/verbs.h"
#include "image/patches.h"
#include "model/files/clip_directory.h"

namespace ov::cli {

namespace {

std::vector<Grid> picture_grids(const Config& config, const VisionConfig& vision) {
  ProcessorConfig images;
  images.patch = vision.patch;
  images.merge = vision.merge;
  const auto grid = patch_grid({config.integer("plan.width"), config.integer("plan.height")}, images);
  return std::vector<Grid>(static_cast<std::size_t>(config.integer("plan.images")), {grid[0], grid[1], grid[2]});
}

// Ranks that have a model each, as all objectives can.
void copies(const Config& config, PlanOptions& options) {
  options.train.zero = static_cast<int>(config.integer("parallel.zero"));
  options.ranks = static_cast<int>(config.integer("plan.ranks"));
  if (options.ranks > 1) overlap_option(config, options.train);
}

}  // namespace

PlanOptions plan_options(const Config& config, const VisionConfig& vision) {
  const Recompute again = recompute_option(config);
  PlanOptions options{.grids = {},
                      .text_tokens = config.integer("plan.text_tokens"),
                      .segments = config.integer("plan.segments"),
                      .labelled = config.integer("plan.labelled"),
                      .micro_batches = config.integer("train.micro_batches"),
                      .dtype = dtype_option(config),
                      .recompute = again.on,
                      .recompute_first = again.first,
                      .train = {}};
  sum_options(config, options.train);
  options.train.loss_rows = config.integer("train.loss_rows");
  options.train.aux_global = config.text("train.aux_scope") == "global";
  mesh_options(config, options.train);
  copies(config, options);
  if (config.text("pretrain.what") == "text") {  // no pictures, and the keys of pre-training alone
    options.train.modules = {"language_model"};
    return options;
  }
  options.grids = picture_grids(config, vision);
  options.train.modules = config.list("train.modules");
  options.train.train_class_params = class_params_option(config);
  options.lora = {.rank = config.integer("lora.rank"),
                  .targets = config.list("lora.targets"),
                  .dropout = config.number("lora.dropout"),
                  .where = trainable(options.train.modules, false)};
  return options;
}

namespace {

// On several devices.
Exit show_mesh(const Config& config, const PlanOptions& options, const Planner& planner, bool choose) {
  const std::string links = shipped(config, "plan.links");
  if (config.text("plan.device").empty())
    input_error("plan.ranks needs plan.device, what each of them is: a name in ", config.text("plan.devices"));
  const DeviceFacts device = find_device(shipped(config, "plan.devices"), config.text("plan.device"));
  MeshFacts mesh{.node = static_cast<int>(config.integer("plan.node")), .mfu = config.number("plan.mfu")};
  if (mesh.node == 0) mesh.node = device.node;
  if (!(mesh.mfu > 0)) mesh.mfu = device.mfu;
  const auto link = [&](const char* key, const std::string& own) {
    const std::string& given = config.text(key);
    return find_link(links, given.empty() ? own : given);
  };
  mesh.inside = link("plan.inside", device.inside);
  const std::string& between = config.text("plan.between");
  if (mesh.node > 0 && mesh.node < options.ranks) mesh.between = link("plan.between", device.between);
  else if (!between.empty())
    input_error("plan.between ", between, ": all of plan.ranks ", options.ranks, " are on one machine");
  const double days = config.number("plan.days");
  const std::int64_t steps = config.integer("train.steps");
  config.refuse_unread("with plan.ranks");
  const MeshPlan plan = plan_on_mesh(device, mesh, planner, options, choose);
  print(plan.stages[0].report() + plan.report() +
        (days > 0 ? plan.beside(days, steps) : cat(plan.days(steps), " days for ", steps, " steps\n")));
  return Exit::done;
}

// choose: how many blocks are recomputed.
Exit show(const Config& config, const PlanOptions& options, const Planner& planner, bool choose = false) {
  const std::string& device = config.text("plan.device");
  const std::string devices = shipped(config, "plan.devices");
  const double mfu = config.number("plan.mfu");
  const std::string& what = config.text("pretrain.what");
  if (choose && device.empty()) input_error("train.recompute auto: plan.device says what the step is to fit");
  if (options.ranks > 1) return show_mesh(config, options, planner, choose);
  config.refuse_unread(!what.empty()                      ? "with --what " + what
                       : config.text("model.dir").empty() ? "for what is planned"
                                                          : "on a model that exists");
  if (device.empty()) return print(planner(options).report()), Exit::done;
  const DevicePlan plan = plan_on(find_device(devices, device), planner, options, mfu, choose);
  print(plan.step.plan.report() + plan.report());
  return Exit::done;
}

Exit clip(const Config& config, const std::string& directory) {
  ClipConfig model;
  if (directory.empty()) {
    if (!config.given("clip"))
      std::fputs(
          "note: neither --model nor a shape is given (configs/model/clip-b.json, clip-h.json): the keys' "
          "defaults\n",
          stderr);
    model = described_clip(config);
    model.vocabulary = planned_vocabulary(config, model.vocabulary);
  } else {
    model = ClipConfig::read(read_config_json(directory), directory + "/config.json");
    refuse_otherwise(config, model, directory);
  }
  if (config.integer("plan.pictures") > 0) return plan_balancing(config, model);
  tell_unused(config, "plan.images");
  PlanOptions options{.grids = std::vector<Grid>(static_cast<std::size_t>(config.integer("plan.images"))),
                      .text_tokens = config.integer("plan.text_tokens"),
                      .micro_batches = config.integer("train.micro_batches"),
                      .dtype = dtype_option(config),
                      .train = {}};
  sum_options(config, options.train);
  copies(config, options);
  return show(config, options, [&](const PlanOptions& o) { return plan_clip(model, o); });
}

Exit vision(const Config& config) {
  const Recompute again = recompute_option(config);
  RegionPlan rice{.vision = described_vision(config),
                  .head = region_head(config),
                  .objects = cluster_options(config, "objects"),
                  .characters = cluster_options(config, "characters"),
                  .regions = config.integer("data.regions_per_picture"),
                  .strings = config.integer("plan.strings"),
                  .labels = config.integer("data.labels_per_text")};
  rice.head.blocks = config.integer("rice.class_blocks");
  rice.head.classes = config.integer("plan.classes");
  rice.head.characters = config.integer("plan.characters");
  tell_unused(config, "plan.images plan.width plan.height");
  PlanOptions options{.grids = picture_grids(config, rice.vision),
                      .micro_batches = config.integer("train.micro_batches"),
                      .dtype = dtype_option(config),
                      .recompute = again.on,
                      .recompute_first = again.first,
                      .train = {}};
  sum_options(config, options.train);
  copies(config, options);
  options.train.classes = static_cast<int>(config.integer("parallel.classes"));
  return show(
      config, options, [&](const PlanOptions& o) { return plan_region(rice, o); }, again.choose);
}

}  // namespace

Exit plan(const Config& config) {
  use_threads(config);
  const std::string &directory = config.text("model.dir"), &what = config.text("pretrain.what");
  if (what == "clip" || (!directory.empty() && is_clip(directory))) return clip(config, directory);
  if (what == "vision") {
    if (!directory.empty())
      input_error(
          "model.dir has no effect with --what vision: vision.* describe the tower (--config "
          "configs/model/rice-vit-l.json, say), rice.* its head");
    return vision(config);
  }
  ModelConfig model;
  if (directory.empty()) {
    refuse_clip(config);
    model.vision = described_vision(config), model.text = described_text(config);
    model.text.vocabulary = planned_vocabulary(config, model.text.vocabulary);
    model.check();
    tell_defaults(config);
  } else {
    model = read_model_config(directory);
    model.check();
    refuse_otherwise(config, model, directory);
  }
  if (config.flag("plan.rl")) return plan_rl(config, model);
  const bool pictures = what != "text";
  tell_unused(config, cat(pictures ? "plan.images plan.width plan.height " : "", "plan.text_tokens plan.segments"));
  const PlanOptions options = plan_options(config, model.vision);
  return show(
      config, options, [&](const PlanOptions& o) { return plan_model(model, o); }, recompute_option(config).choose);
}

}  // namespace ov::cli
