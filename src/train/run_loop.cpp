#include "train/run_loop.h"

#include <cstdio>
#include <filesystem>

#include "base/hash.h"
#include "base/io/durable_directory.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/revision.h"
#include "base/stop_signals.h"
#include "kernels/cpu/peak.h"
#include "train/checksums.h"
#include "train/run_log.h"
#include "train/same_run.h"
#include "train/tensorboard.h"

namespace ov {
namespace {

std::string progress_note(const StepReport& r, double peak) {
  char text[64];
  std::snprintf(text, sizeof text, "  lr %.2e  MFU %.0f%%", r.lr, 100 * model_flops_utilisation(r, peak));
  return r.note + text;
}

// Padding of packed rows, all steps so far; -1 when the data has no such notion.
std::int64_t padding_of(const Json& data) {
  const Json* padding = data.is_object() ? data.find("padding") : nullptr;
  return padding ? padding->as_int() : -1;
}

// How a resumed run came about: for its log.
struct Resumed {
  std::string from;  // the checkpoint; empty: a new run
  Json changed = Json::object(), damaged = Json::array();
};

// Goes to the newest whole checkpoint. Those that are damaged are told and set aside.
Resumed resume(StepEngine& engine, const RunOptions& o, const Json& about) {
  Resumed resumed;
  std::vector<std::string> found = checkpoints(o.out), damaged;
  // A run that starts again beside them would have its own checkpoints pruned as the older ones.
  if (!found.empty() && !o.resume)
    input_error(found.back(),
                ": a checkpoint of an earlier run; set train.resume to go on from it, or another train.out");
  for (; !found.empty(); found.pop_back()) {
    const std::string& path = found.back();
    Json stored;
    try {
      stored = checked_checkpoint(path);
    } catch (const Error& e) {
      tell(cat("damaged checkpoint: ", e.what()));
      damaged.push_back(path);
      resumed.damaged.push(e.what());
      continue;
    }
    resumed.changed = check_same_run(path, stored, about, o.may_change);
    if (const std::int64_t step = stored.at("step").as_int(); step > engine.options().steps)
      input_error(path, ": is of step ", step, ", and train.steps is ", engine.options().steps,
                  "; name another train.out");
    TrainingState state = engine.state();
    load_checkpoint(path, stored, state);
    engine.restore(state);
    for (const std::string& d : damaged) set_aside(d);
    tell(cat("resumed from ", path));
    resumed.from = path;
    return resumed;
  }
  if (!damaged.empty())
    input_error(resumed.damaged[resumed.damaged.size() - 1].as_string(), "; no whole checkpoint is left in ", o.out,
                "/checkpoints: move it away to start from the first step");
  return resumed;
}

// The numbers of a log's line; those of an object in it as object/name.
tensorboard::Scalars scalars(const Json& line) {
  tensorboard::Scalars all;
  for (const auto& [name, value] : line.members()) {
    if (value.is_number() && name != "step") all.emplace_back(name, value.as_double());
    if (!value.is_object()) continue;
    for (const auto& [part, number] : value.members())
      if (number.is_number()) all.emplace_back(cat(name, "/", part), number.as_double());
  }
  return all;
}

}  // namespace

RunDirectory::RunDirectory(const RunOptions& options, const std::string& result, const std::string& command,
                           const std::vector<std::string>& sources)
    : result_(options.out + "/" + result) {
  make_directories(options.out);
  lock_ = std::make_unique<DirectoryLock>(options.out);
  DurableDirectory::recover(result_);
  DurableDirectory::check(result_, command);
  for (const std::string& source : sources) {
    std::error_code missing;
    if (std::filesystem::equivalent(result_, source, missing))
      input_error(result_, ": the run starts from it and would replace it; name another train.out");
  }
}

StepReport run_to_end(StepEngine& engine, const RunOptions& o, const RunFacts& facts,
                      const std::function<Json()>& finish) {
  const StopSignals signals;
  Json sources = facts.sources;
  const Parameters& parameters = engine.state().parameters;
  sources.set("starting_weights", hex16(tensor_checksum(parameters.values())));
  Json about = Json::object({{"config", o.config},
                             {"sources", sources},
                             {"parameters", parameters.count()},
                             {"trained", parameters.trained()}});
  for (const auto& [key, value] : facts.counts.members()) about.set(key, value);
  Resumed resumed = resume(engine, o, about);

  RunLog log(o.out + "/run.jsonl", engine.steps_done());
  tensorboard::Writer events(o.out, engine.steps_done());
  const double peak = kernels::cpu::fma_peak_flops(threads());
  if (!log.damage().empty()) {
    tell(cat("damaged line: ", log.damage(), "; the log is cut there"));
    resumed.damaged.push(log.damage());
  }
  if (!log.has_run()) {
    Json first = about;
    first.set("threads", threads());
    first.set("peak_flops", peak);
    first.set("revision", revision());
    log.run(first);
  }
  if (!resumed.from.empty())
    log.note("resume", Json::object({{"step", engine.steps_done()},
                                     {"revision", revision()},
                                     {"threads", threads()},
                                     {"changed", resumed.changed},
                                     {"damaged", resumed.damaged}}));

  StepReport report;
  report.step = engine.steps_done();
  std::int64_t padding = padding_of(engine.state().data);
  std::int64_t saved = engine.steps_done();
  // The log first: a checkpoint must not know of a step that a power cut took from the log.
  const auto save = [&] {
    log.sync();
    events.sync();
    save_checkpoint(o.out, engine.state(), about);
    prune_checkpoints(o.out, o.keep);
    saved = engine.steps_done();
  };
  {
    Progress progress(facts.name, engine.options().steps, "step", engine.steps_done());
    while (engine.steps_done() < engine.options().steps && !StopSignals::asked()) {
      report = engine.step();
      if (const std::int64_t all = padding_of(engine.state().data); all >= 0)
        report.parts.set("padding", all - padding), padding = all;
      const bool last = report.step == engine.options().steps;
      if (last || (o.log_every > 0 && report.step % o.log_every == 0))
        events.write(report.step, scalars(log.step(report, peak)));
      if (last || (o.save_every > 0 && report.step % o.save_every == 0)) save();
      progress.update(report.step, progress_note(report, peak));
    }
  }
  if (const int signal = StopSignals::asked()) {
    if (saved < engine.steps_done()) save();
    log.note("stop", Json::object({{"step", engine.steps_done()}, {"signal", signal}}));
    throw Error(stopped_by(signal),
                cat("stopped by ", StopSignals::name(signal), " after step ", engine.steps_done(), " of ",
                    engine.options().steps, engine.steps_done() > 0 ? ", which is saved" : "",
                    "; the same command goes on from there"));
  }
  const Json members = finish();
  if (engine.times().steps() > 0) log.note("times", engine.times().json());
  Json end = Json::object({{"step", engine.steps_done()}});
  for (const auto& [key, value] : members.members()) end.set(key, value);
  log.note("end", end);
  return report;
}

}  // namespace ov
