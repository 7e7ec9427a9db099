#include "train/stages/job.h"

#include "base/io/durable_directory.h"
#include "base/sha256.h"
#include "data/pack/index.h"
#include "train/stages/model_directory.h"

namespace ov {
namespace {

// The steps of a job, whichever way its data is given.
struct Source {
  std::unique_ptr<StepSource> steps;
  std::int64_t records = 0;
  std::function<const RejectCounts&()> rejects;
};

Source open_source(const TrainJob& job, const Processor& processor) {
  Source source;
  if (job.packs.index.empty()) {
    LoaderOptions options = job.data;
    if (options.rejects_path.empty()) options.rejects_path = job.out + "/rejects.jsonl";
    auto loader = std::make_unique<Loader>(options, processor);
    source.records = loader->records();
    source.rejects = [l = loader.get()]() -> const RejectCounts& { return l->rejects(); };
    source.steps = std::move(loader);
  } else {
    PackedLoaderOptions options = job.packs;
    if (options.rejects_path.empty()) options.rejects_path = job.out + "/rejects.jsonl";
    auto loader = std::make_unique<PackedLoader>(options, processor);
    source.records = loader->index().samples();
    source.rejects = [l = loader.get()]() -> const RejectCounts& { return l->rejects(); };
    source.steps = std::move(loader);
  }
  return source;
}

}  // namespace

void export_model(const std::string& directory, const Onevision& model, Processor processor,
                  const ExportOptions& options) {
  const auto stop = processor.stop_ids();
  const std::int64_t last = stop.empty() ? 0 : stop.back();
  processor.line_after_picture = true;
  DurableDirectory out(directory, options.command);
  write_model(out.path(), model, stop, processor.tokenizer().pad().value_or(last), options.untied_head);
  for (const std::string& source : options.code) copy_code(source, out.path());
  processor.write(out.path());
  out.commit();
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
  const LoadOptions load{.dtype = job.dtype, .reference = job.reference, .hf_shift_bug = job.hf_shift_bug};
  const ModelFiles files = open_model_files(job.model_dir, load);
  const Processor& processor = files.processor;
  const auto model = load_model(files.config, job.model_dir, load);
  model->recompute_blocks = job.recompute;
  const RunDirectory directory(job, "model", "train", {job.model_dir});
  const Source source = open_source(job, processor);
  LanguageObjective objective(*model, *source.steps, job.train);
  StepEngine engine(objective, job.train);

  const RunFacts facts{.counts = Json::object({{"parameters", model->parameters().count()},
                                               {"trained", model->parameters().trained()},
                                               {"records", source.records}}),
                       .sources = Json::object({{"model", model_fingerprint(files.config)},
                                                {"processor", processor_fingerprint(processor)}})};
  return run_to_end(engine, job, facts, [&] {
    export_model(directory.result(), *model, processor, {.code = {job.model_dir}, .untied_head = job.untied_head});
    return Json::object({{"rejects", source.rejects().json()}});
  });
}

}  // namespace ov
