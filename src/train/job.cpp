#include "train/job.h"

#include "base/durable_directory.h"
#include "base/file.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "kernels/cpu/peak.h"
#include "model/hf_io.h"
#include "train/checkpoint.h"
#include "train/run_log.h"

namespace ov {
namespace {

std::string progress_note(const StepReport& r, double peak) {
  char text[96];
  std::snprintf(text, sizeof text, "loss %.4f  lr %.2e  MFU %.0f%%", r.token_loss, r.lr,
                100 * model_flops_utilisation(r, peak));
  return text;
}

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

StepReport run_to_end(Trainer& trainer, const RunOptions& o, const std::function<Json()>& finish) {
  if (const auto newest = newest_checkpoint(o.out)) {
    // A run that starts again beside them would have its own checkpoints pruned as the older ones.
    if (!o.resume)
      input_error(*newest, ": a checkpoint of an earlier run; set train.resume to go on from it, or another train.out");
    load_checkpoint(*newest, trainer);
  }
  RunLog log(o.out + "/run.jsonl", trainer.steps_done());
  const double peak = kernels::cpu::fma_peak_flops(threads());
  if (trainer.steps_done() == 0) {
    Json first = o.about;
    first.set("threads", threads());
    first.set("peak_flops", peak);
    log.run(first);
  } else {
    log.note("resume", Json::object({{"step", trainer.steps_done()}}));
  }

  StepReport report;
  report.step = trainer.steps_done();
  {
    const std::int64_t steps = trainer.options().steps;
    Progress progress(o.name, steps, "step");
    while (trainer.steps_done() < steps) {
      report = trainer.step();
      const bool last = report.step == steps;
      if (last || (o.log_every > 0 && report.step % o.log_every == 0)) log.step(report, peak);
      if (last || (o.save_every > 0 && report.step % o.save_every == 0)) {
        save_checkpoint(o.out, trainer, o.about);
        prune_checkpoints(o.out, o.keep);
      }
      progress.update(report.step, progress_note(report, peak));
    }
  }
  if (trainer.times().steps() > 0) log.note("times", trainer.times().json());
  Json end = Json::object({{"step", trainer.steps_done()}});
  const Json members = finish();
  for (const auto& [key, value] : members.members()) end.set(key, value);
  log.note("end", end);
  return report;
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
