#include "train/stages/job.h"

#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "model/files/hf_directory.h"

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

void export_model(const std::string& directory, const Onevision& model, const Processor& processor) {
  const auto eos = processor.tokenizer().eos(), pad = processor.tokenizer().pad();
  std::vector<std::int64_t> stop;
  if (eos) stop.push_back(*eos);
  if (pad && pad != eos) stop.push_back(*pad);
  DurableDirectory out(directory);
  write_model(out.path(), model, stop, pad.value_or(eos.value_or(0)));
  processor.write(out.path());
  out.commit();
}

StepReport run_training(const TrainJob& job) {
  const Processor processor = Processor::read(job.model_dir);
  const auto model =
      load_model(job.model_dir, {.dtype = job.dtype, .reference = job.reference, .hf_shift_bug = job.hf_shift_bug});
  model->recompute_blocks = job.recompute;
  if (processor.tokenizer().vocab_size() > model->config().text.vocabulary)
    input_error(job.model_dir, ": the tokenizer has ", processor.tokenizer().vocab_size(), " tokens, the model ",
                model->config().text.vocabulary);
  make_directories(job.out);
  const Source source = open_source(job, processor);
  Trainer trainer(*model, *source.steps, job.train);

  const RunOptions run{.out = job.out,
                       .save_every = job.save_every,
                       .keep = job.keep,
                       .log_every = job.log_every,
                       .resume = job.resume,
                       .about = Json::object({{"config", job.config},
                                              {"parameters", model->parameters().count()},
                                              {"trained", model->parameters().gradients().numel()},
                                              {"records", source.records}})};
  return run_to_end(trainer, run, [&] {
    export_model(job.out + "/model", *model, processor);
    return Json::object({{"rejects", source.rejects().json()}});
  });
}

}  // namespace ov
