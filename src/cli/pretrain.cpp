#include "audit/plan.h"
#include "base/text.h"
#include "cli/verbs.h"
#include "train/stages/pretrain_clip.h"
#include "train/stages/pretrain_text.h"
#include "train/stages/pretrain_vision.h"

namespace ov::cli {

// --- vision

ClusterOptions cluster_options(const Config& config, const std::string& table) {
  const std::string& margin = config.text("rice.margin");
  const auto number = [&](const char* key) { return config.number(cat("rice.", table, ".", key)); };
  return {.softmax = config.text(cat("rice.", table, ".loss")) == "softmax",
          .margin = {.margin = margin == "cosface"   ? kernels::Margin::cosface
                               : margin == "arcface" ? kernels::Margin::arcface
                                                     : kernels::Margin::arcface_straight_through,
                     .scale = number("scale"),
                     .m = number("m"),
                     .filter_above = config.number("rice.filter_above")},
          .density = number("density"),
          .weight = number("weight")};
}

RegionHeadConfig region_head(const Config& config) {
  RegionHeadConfig head;
  head.layers = config.integer("rice.layers");
  head.embedding = config.integer("rice.embedding");
  head.query = config.text("rice.query") == "learned" ? RegionQuery::learned : RegionQuery::class_token;
  head.mlp = config.flag("rice.mlp");
  head.rope = config.flag("rice.rope");
  head.class_token_key = config.flag("rice.class_token_key");
  head.min_overlap = config.number("rice.min_overlap");
  return head;
}

namespace {

std::uint64_t seed_of(const Config& config) { return static_cast<std::uint64_t>(config.integer("pretrain.seed")); }

RegionLoaderOptions region_data(const Config& config) {
  RegionLoaderOptions data;
  data.regions = config.required("data.regions");
  data.clusters = config.text("data.clusters");
  data.images = processor_limits(config);
  data.regions_per_picture = config.integer("data.regions_per_picture");
  data.labels_per_text = config.integer("data.labels_per_text");
  const LoaderOptions step = loader_options(config, "pretrain.seed");
  data.pictures_per_micro_batch = step.samples_per_micro_batch;
  data.micro_batches_per_step = step.micro_batches_per_step;
  data.seed = step.seed;
  data.max_rejects = step.max_rejects;
  return data;
}

void vision(const Config& config, Communicator& ranks) {
  VisionPretraining run;
  static_cast<RunOptions&>(run) = run_options(config);
  const auto trace = share(config, ranks, run);
  run.from = config.text("pretrain.from");
  run.data = region_data(config);
  run.vision = described_vision(config);
  run.head = region_head(config);
  run.head.blocks = config.integer("rice.class_blocks");
  run.init = init_options(config);
  run.init_seed = seed_of(config);
  step_options(config, run.train);
  run.train.classes = static_cast<int>(config.integer("parallel.classes"));
  check_moments(run.train);
  run.train.objects = cluster_options(config, "objects");
  run.train.characters = cluster_options(config, "characters");
  run.train.seed = seed_of(config);
  const Recompute again = stated_recompute(
      config,
      "with --what vision it is not known beforehand which classes a step's regions share, and so what it takes; plan "
      "--what vision --train.recompute=auto --plan.device=... says how many blocks do where they share none");
  run.recompute = again.on, run.recompute_first = again.first;
  run.dtype = dtype_option(config);
  if (!config.text("model.dir").empty())
    input_error(
        "model.dir has no effect with --what vision: vision.* describe the tower (--config "
        "configs/model/mesh.json, say), rice.* its head; pretrain.from begins with an earlier run's weights");
  config.refuse_unread("with --what vision");
  pretrain_vision(run);
}

// --- text

TextCorpusOptions corpus_options(const Config& config) {
  const std::string& learn = config.text("data.learn_prefix");
  return {.files = config.required_list("data.text"),
          .plain = config.text("data.layout") == "plain",
          .learn_prefix = learn == "all"    ? LearnPrefix::all
                          : learn == "none" ? LearnPrefix::none
                                            : LearnPrefix::but_first,
          .max_tokens = config.integer("train.max_tokens")};
}

void text(const Config& config, Communicator& ranks) {
  TextPretraining run;
  static_cast<RunOptions&>(run) = run_options(config);
  const auto trace = share(config, ranks, run);
  run.model_dir = config.text("model.dir");
  const bool fresh = run.model_dir.empty();
  if (fresh) {
    run.tokenizer_dir = config.required("tokenizer");
    run.model.vision = described_vision(config);
    run.model.text = described_text(config);
    run.init = init_options(config);
    run.init_seed = seed_of(config);
  } else {
    refuse_otherwise(config, read_model_config(run.model_dir), run.model_dir);
  }
  run.corpus = corpus_options(config);
  run.data = loader_options(config, "pretrain.seed");
  run.train = train_options(config);
  const Recompute again = recompute_option(config);
  run.recompute = again.on, run.recompute_first = again.first;
  run.dtype = dtype_option(config);
  if (again.choose)
    run.choose_recompute = [&](const ModelConfig& model, const GlobalStep& first) {
      PlanOptions like{.dtype = run.dtype, .train = run.train};
      like.train.modules = {"language_model"};
      return fitting_blocks(config, run, like, model, first);
    };
  config.refuse_unread(fresh ? "with --what text" : "with --what text on a model that exists");
  pretrain_text(run);
}

// --- clip

void clip(const Config& config, Communicator& ranks) {
  ClipPretraining run;
  static_cast<RunOptions&>(run) = run_options(config);
  const auto trace = share(config, ranks, run);
  run.captions = config.required("data.captions");
  run.manifest = config.text("data.manifest");
  run.image_dir = config.text("data.image_dir");
  run.tokenizer_dir = config.required("tokenizer");
  run.model = described_clip(config);
  run.init = init_options(config);
  run.init_seed = seed_of(config);
  run.data = loader_options(config, "pretrain.seed");
  step_options(config, run.train);
  run.train.max_scale = config.number("clip.max_scale");
  run.dtype = dtype_option(config);
  config.refuse_unread("with --what clip");
  pretrain_clip(run);
}

}  // namespace

Exit pretrain(const Config& config) {
  use_threads(config);
  const std::string& what = config.required("pretrain.what");
  in_ranks(config, [&](Communicator& ranks) {
    (what == "vision" ? vision : what == "clip" ? clip : text)(config, ranks);
  });
  return Exit::done;
}

}  // namespace ov::cli
