#include "train/stages/job.h"

#include <algorithm>

#include "base/io/durable_directory.h"
#include "base/sha256.h"
#include "data/pack/index.h"
#include "model/files/lora.h"
#include "parallel/classes.h"
#include "parallel/mesh.h"
#include "train/run_log.h"
#include "train/stages/model_directory.h"

namespace ov {
namespace {

struct Data {
  std::unique_ptr<StepLoader> steps;
  std::int64_t records;
};

// Whichever way it is given.
Data open_data(const TrainJob& job, const Processor& processor) {
  const auto with_path = [&](auto options) {
    if (options.rejects_path.empty()) options.rejects_path = job.rejects_path();
    return options;
  };
  if (job.packs.index.empty()) {
    auto loader = std::make_unique<Loader>(with_path(job.data), processor);
    const std::int64_t records = loader->records();
    return {std::move(loader), records};
  }
  auto loader = std::make_unique<PackedLoader>(with_path(job.packs), processor);
  const std::int64_t records = loader->index().samples();
  return {std::move(loader), records};
}

Json model_facts(const Onevision& model) {
  const TextConfig& t = model.config().text;
  std::int64_t parameters = 0;
  for (const NamedShape& p : expected_names(model)) parameters += p.shape.numel();
  Json facts = model.config().has_tower ? tower_facts(model.config().vision) : Json::object();
  facts.set("parameters", parameters);
  facts.set("decoder", cat(t.qk_norm ? "Qwen3, " : "Qwen2, ", t.layers, " layers of width ", t.hidden,
                           t.experts > 0 ? cat(", ", t.experts, " experts") : ""));
  facts.set("vocabulary", t.vocabulary);
  return facts;
}

constexpr const char* recomputed_blocks = "recomputed_blocks";  // in the log and the checkpoints

}  // namespace

void choose_recompute(const ChooseRecompute& choose, Communicator& ranks, const StepLoader& steps, Onevision& model,
                      Json& counts) {
  if (!choose) return;
  GlobalStep first;  // without a trace: what is rejected in it is told when it is trained on
  for (std::int64_t m = 0; m < steps.micro_batches(); ++m) first.micro_batches.push_back(steps.micro_batch(0, m).batch);
  const auto said = said_by_all(ranks, choose(model.config(), first));
  const std::int64_t blocks = *std::max_element(said.begin(), said.end());
  model.recompute_blocks = blocks > 0, model.recompute_first = blocks;
  counts.set(recomputed_blocks, blocks);
}

Json tower_facts(const VisionConfig& v) {
  return Json::object(
      {{"tower", cat("RICE-ViT, ", v.depth, " blocks of width ", v.hidden, ", patches of ", v.patch, " pixels")}});
}

void export_model(const std::string& directory, const Onevision& model, Processor processor,
                  const ExportOptions& options) {
  const auto stop = processor.stop_ids();
  const std::int64_t last = stop.empty() ? 0 : stop.back();
  processor.line_after_picture = true;
  DurableDirectory out(directory, options.command);
  write_model(out.path(), model, stop, processor.tokenizer().pad().value_or(last), options.untied_head, options.dtype,
              options.weights);
  for (const std::string& source : options.code) copy_code(source, out.path()), copy_licences(source, out.path());
  processor.write(out.path());
  CardFacts card = options.card;
  card.sources = options.code;
  card.model = model_facts(model);
  if (!model.config().has_tower) card.pipeline = "text-generation";
  if (options.check) options.check(out.path());
  out.commit();
  write_model_card(directory, card);
}

CardFacts run_card(const RunOptions& options, const RunFacts& facts) {
  CardFacts card{.log = last_step(options.out + "/run.jsonl"), .license = options.license};
  for (const auto& [key, value] : facts.counts.members())
    if (key != recomputed_blocks) card.data.set(key, value);
  if (!options.config.is_object()) return card;
  for (const auto& [key, value] : options.config.members()) {
    if (key != "data" || !value.is_object()) card.recipe.set(key, value);
    else
      for (const auto& [name, member] : value.members()) card.data.set(name, member);
  }
  return card;
}

std::string processor_fingerprint(const Processor& processor) {
  const ProcessorConfig& c = processor.images();
  const Json pixels = std::vector<double>{c.rescale, c.mean[0], c.mean[1], c.mean[2], c.std[0], c.std[1], c.std[2]};
  return sha256(length_fingerprint(processor) + pixels.dump());
}

std::string model_fingerprint(ModelConfig config) {
  config.source = Json();
  return sha256(config.json().dump());
}

StepReport run_training(const TrainJob& job) {
  LoadOptions load{.dtype = job.dtype, .reference = job.reference, .hf_shift_bug = job.hf_shift_bug, .lora = job.lora};
  Mesh mesh(*job.ranks, job.train.tensor, job.train.pipeline, job.train.context, job.train.experts);
  load.device = job.device, load.tensor = &mesh.tensor, load.pipe = &mesh.pipe, load.chunks = job.train.chunks;
  load.experts = &mesh.experts;
  load.lora.where = trainable(job.train.modules, false);
  load.pre_norm_eps = job.pre_norm_eps, load.merger_norm_eps = job.merger_norm_eps;
  const ModelFiles files = open_model_files(job.model_dir, load);
  const Processor& processor = files.processor;
  const auto model = load_model(files.config, job.model_dir, load);
  model->recompute_blocks = job.recompute, model->recompute_first = job.recompute_first;
  const bool lora = job.lora.rank > 0;
  const RunDirectory directory(job, "model", "train", {job.model_dir});
  const std::string adapter = job.out + "/adapter";
  if (lora && job.writes()) DurableDirectory::recover(adapter), DurableDirectory::check(adapter, "train");
  const Data data = open_data(job, processor);
  Json counts = Json::object({{"records", data.records}});
  choose_recompute(job.choose_recompute, *job.ranks, *data.steps, *model, counts);
  LanguageObjective objective(*model, *data.steps, job.train, mesh.context);
  StepEngine engine(objective, job.train, mesh.data);
  load_masters(*model, job.model_dir);

  const RunFacts facts{.counts = counts,
                       .sources = Json::object({{"model", model_fingerprint(files.config)},
                                                {"processor", processor_fingerprint(processor)}})};
  return run_to_end(engine, job, facts, [&] {
    CardFacts card = run_card(job, facts);
    std::unique_ptr<Onevision> whole;
    if (job.train.tensor * job.train.pipeline * job.train.experts > 1 || engine.parallel().divides_values())
      whole = load_model(files.config, checkpoints(job.out).back(), {.dtype = accum_dtype(job.dtype)});
    if (!lora || job.merged_model)
      export_model(directory.result(), whole ? *whole : *model, processor,
                   {.code = {job.model_dir}, .untied_head = job.untied_head, .dtype = job.export_dtype, .card = card});
    if (lora) {
      DurableDirectory out(adapter, "train");
      write_adapter(out.path(), model->parameters(), !files.config.has_tower, job.export_dtype);
      card.library = "peft", card.sources = {job.model_dir};
      out.commit();
      write_model_card(adapter, card);
    }
    return Json::object({{"rejects", data.steps->rejects().json()}});
  });
}

}  // namespace ov
