#include "base/text.h"
#include "cli/verbs.h"
#include "train/stages/pretrain_text.h"
#include "train/stages/pretrain_vision.h"

namespace ov::cli {
namespace {

std::uint64_t seed_of(const Config& config) { return static_cast<std::uint64_t>(config.integer("pretrain.seed")); }

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

RegionLoaderOptions region_data(const Config& config) {
  RegionLoaderOptions data;
  data.regions = config.required("data.regions");
  const PixelLimits limits = pixel_limits(config);
  data.images.min_pixels = limits.min_pixels.value_or(data.images.min_pixels);
  data.images.max_pixels = limits.max_pixels.value_or(data.images.max_pixels);
  data.regions_per_picture = config.integer("data.regions_per_picture");
  data.labels_per_text = config.integer("data.labels_per_text");
  data.pictures_per_micro_batch = config.integer("train.micro_batch_samples");
  data.micro_batches_per_step = config.integer("train.micro_batches");
  data.seed = config.integer("pretrain.seed");
  data.max_rejects = config.integer("data.max_rejects");
  return data;
}

void vision(const Config& config) {
  VisionPretraining run;
  run.out = config.required("train.out");
  run.data = region_data(config);
  run.vision = described_model(config).vision;
  run.head = region_head(config);
  run.init = init_options(config);
  run.init_seed = seed_of(config);
  run.train = {.steps = config.integer("train.steps"),
               .schedule = schedule_options(config),
               .optimizer = optimizer_options(config),
               .objects = cluster_options(config, "objects"),
               .characters = cluster_options(config, "characters"),
               .seed = seed_of(config),
               .checksum_every = config.integer("log.checksum_every"),
               .floor = config.flag("log.floor")};
  run.dtype = dtype_named(config.text("dtype"));
  run.save_every = config.integer("train.save_every");
  run.keep = config.integer("train.keep");
  run.resume = config.flag("train.resume");
  run.log_every = config.integer("log.every");
  run.config = config.dump();
  pretrain_vision(run);
}

// --- text

TextCorpusOptions corpus_options(const Config& config) {
  const std::string& learn = config.text("data.learn_prefix");
  return {.files = config.list("data.text"),
          .plain = config.text("data.layout") == "plain",
          .learn_prefix = learn == "all"    ? LearnPrefix::all
                          : learn == "none" ? LearnPrefix::none
                                            : LearnPrefix::but_first,
          .max_tokens = config.integer("train.max_tokens")};
}

void text(const Config& config) {
  TextPretraining run;
  run.out = config.required("train.out");
  run.model_dir = config.text("model.dir");
  if (run.model_dir.empty()) run.tokenizer_dir = config.required("tokenizer");
  run.model = described_model(config);
  run.init = init_options(config);
  run.init_seed = seed_of(config);
  run.corpus = corpus_options(config);
  run.data.samples_per_micro_batch = config.integer("train.micro_batch_samples");
  run.data.micro_batches_per_step = config.integer("train.micro_batches");
  run.data.seed = config.integer("pretrain.seed");
  run.data.max_rejects = config.integer("data.max_rejects");
  run.train.steps = config.integer("train.steps");
  run.train.schedule = schedule_options(config);
  run.train.optimizer = optimizer_options(config);
  run.train.normalise_by = normalise_by(config.text("loss.normalise_by"));
  run.train.tree = config.text("train.grad_sum") == "tree";
  run.train.checksum_every = config.integer("log.checksum_every");
  run.train.floor = config.flag("log.floor");
  run.dtype = dtype_named(config.text("dtype"));
  run.save_every = config.integer("train.save_every");
  run.keep = config.integer("train.keep");
  run.resume = config.flag("train.resume");
  run.log_every = config.integer("log.every");
  run.config = config.dump();
  pretrain_text(run);
}

}  // namespace

Exit pretrain(const Config& config) {
  use_threads(config);
  config.required("pretrain.what") == "vision" ? vision(config) : text(config);
  return Exit::done;
}

}  // namespace ov::cli
