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
  LoaderOptions data = job.data;
  if (data.rejects_path.empty()) data.rejects_path = job.out + "/rejects.jsonl";
  Loader loader(data, processor);
  Trainer trainer(*model, loader, job.train);

  if (const auto newest = newest_checkpoint(job.out)) {
    // A run that starts again beside them would have its own checkpoints pruned as the older ones.
    if (!job.resume)
      input_error(*newest, ": a checkpoint of an earlier run; set train.resume to go on from it, or another train.out");
    load_checkpoint(*newest, trainer);
  }
  const Json about = Json::object({{"config", job.config},
                                   {"parameters", model->parameters().count()},
                                   {"trained", model->parameters().gradients().numel()},
                                   {"records", loader.records()}});
  RunLog log(job.out + "/run.jsonl", trainer.steps_done());
  const double peak = kernels::cpu::fma_peak_flops(threads());
  if (trainer.steps_done() == 0) {
    Json first = about;
    first.set("threads", threads());
    first.set("peak_flops", peak);
    log.run(first);
  } else {
    log.note("resume", Json::object({{"step", trainer.steps_done()}}));
  }

  StepReport report;
  report.step = trainer.steps_done();
  {
    Progress progress("train", job.train.steps, "step");
    while (trainer.steps_done() < job.train.steps) {
      report = trainer.step();
      if (job.log_every > 0 && (report.step % job.log_every == 0 || report.step == job.train.steps))
        log.step(report, peak);
      const bool last = report.step == job.train.steps;
      if (last || (job.save_every > 0 && report.step % job.save_every == 0)) {
        save_checkpoint(job.out, trainer, about);
        prune_checkpoints(job.out, job.keep);
      }
      progress.update(report.step, progress_note(report, peak));
    }
  }
  export_model(job.out + "/model", *model, processor);
  log.note("end", Json::object({{"step", trainer.steps_done()}, {"rejects", loader.rejects().json()}}));
  return report;
}

}  // namespace ov
