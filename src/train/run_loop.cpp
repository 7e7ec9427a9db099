#include "train/run_loop.h"

#include <cstdio>

#include "base/parallel.h"
#include "base/progress.h"
#include "kernels/cpu/peak.h"
#include "train/run_log.h"

namespace ov {
namespace {

std::string progress_note(const StepReport& r, double peak) {
  char text[96];
  std::snprintf(text, sizeof text, "loss %.4f  lr %.2e  MFU %.0f%%", r.token_loss, r.lr,
                100 * model_flops_utilisation(r, peak));
  return text;
}

class TrainerSteps : public Steps {
 public:
  explicit TrainerSteps(Trainer& trainer) : trainer_(trainer) {}
  Step step() override { return {.report = trainer_.step(), .more = Json::object(), .note = ""}; }
  std::int64_t done() const override { return trainer_.steps_done(); }
  std::int64_t total() const override { return trainer_.options().steps; }
  TrainingState state() override {
    return {trainer_.model().parameters(), trainer_.optimizer(), done(), trainer_.data().state()};
  }
  void restore(const TrainingState& state) override {
    trainer_.data().restore(state.data);
    trainer_.resumed_at(state.step);
  }
  const StepTimes& times() const override { return trainer_.times(); }

 private:
  Trainer& trainer_;
};

}  // namespace

StepReport run_to_end(Steps& steps, const RunOptions& o, const std::function<Json()>& finish) {
  if (const auto newest = newest_checkpoint(o.out)) {
    // A run that starts again beside them would have its own checkpoints pruned as the older ones.
    if (!o.resume)
      input_error(*newest, ": a checkpoint of an earlier run; set train.resume to go on from it, or another train.out");
    TrainingState state = steps.state();
    load_checkpoint(*newest, state);
    steps.restore(state);
  }
  RunLog log(o.out + "/run.jsonl", steps.done());
  const double peak = kernels::cpu::fma_peak_flops(threads());
  if (steps.done() == 0) {
    Json first = o.about;
    first.set("threads", threads());
    first.set("peak_flops", peak);
    log.run(first);
  } else {
    log.note("resume", Json::object({{"step", steps.done()}}));
  }

  StepReport report;
  report.step = steps.done();
  {
    Progress progress(o.name, steps.total(), "step");
    while (steps.done() < steps.total()) {
      const Steps::Step step = steps.step();
      report = step.report;
      const bool last = report.step == steps.total();
      if (last || (o.log_every > 0 && report.step % o.log_every == 0)) log.step(report, peak, step.more);
      if (last || (o.save_every > 0 && report.step % o.save_every == 0)) {
        save_checkpoint(o.out, steps.state(), o.about);
        prune_checkpoints(o.out, o.keep);
      }
      progress.update(report.step, step.note.empty() ? progress_note(report, peak) : step.note);
    }
  }
  const Json members = finish();
  if (steps.times().steps() > 0) log.note("times", steps.times().json());
  Json end = Json::object({{"step", steps.done()}});
  for (const auto& [key, value] : members.members()) end.set(key, value);
  log.note("end", end);
  return report;
}

StepReport run_to_end(Trainer& trainer, const RunOptions& options, const std::function<Json()>& finish) {
  TrainerSteps steps(trainer);
  return run_to_end(steps, options, finish);
}

}  // namespace ov
