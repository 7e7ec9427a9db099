#include "train/run_loop.h"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>

#include "base/hash.h"
#include "base/io/durable_directory.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/revision.h"
#include "base/stop_signals.h"
#include "kernels/cpu/peak.h"
#include "store/hf_weights.h"
#include "train/checksums.h"
#include "train/kept_choices.h"
#include "train/run_log.h"
#include "train/same_run.h"
#include "train/tensorboard.h"

namespace ov {
namespace {

std::string progress_note(const StepReport& r, double peak) {
  char text[64];
  if (peak > 0) std::snprintf(text, sizeof text, "  lr %.2e  MFU %.0f%%", r.lr, 100 * model_flops_utilisation(r, peak));
  else std::snprintf(text, sizeof text, "  lr %.2e", r.lr);
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

// Finds the newest whole checkpoint. Those that are damaged are told, and listed in `damaged`.
Resumed newest(const StepEngine& engine, const RunOptions& o, const Json& about, std::vector<std::string>& damaged) {
  Resumed resumed;
  std::vector<std::string> found = checkpoints(o.out);
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
    resumed.changed = check_same_run(path, stored, about, o.may_change, o.defaults);
    if (const std::int64_t step = stored.at("step").as_int(); step > engine.options().steps)
      input_error(path, ": is of step ", step, ", and train.steps is ", engine.options().steps,
                  "; name another train.out");
    resumed.from = path;
    return resumed;
  }
  if (!damaged.empty())
    input_error(resumed.damaged[resumed.damaged.size() - 1].as_string(), "; no whole checkpoint is left in ", o.out,
                "/checkpoints: move it away to start from the first step");
  return resumed;
}

// Goes to it: rank 0 chooses, all load.
Resumed resume(StepEngine& engine, const RunOptions& o, const Json& about) {
  Resumed resumed;
  std::vector<std::string> damaged;
  if (o.writes()) {
    const Alone reads(*o.ranks);
    resumed = newest(engine, o, about, damaged);
  }
  resumed.from = broadcast_text(*o.ranks, resumed.from, 0);
  if (resumed.from.empty()) return resumed;
  TrainingState state = engine.state();
  load_checkpoint(resumed.from, Json::read(resumed.from + "/state.json"), state);
  engine.restore(state);
  for (const std::string& d : damaged) set_aside(d);
  if (o.writes()) tell(cat("resumed from ", resumed.from));
  return resumed;
}

// A new run begins with the weights of another's newest whole checkpoint; the optimiser and the data begin anew.
void begin_from(StepEngine& engine, const RunOptions& o) {
  std::string from;
  if (o.writes()) {
    const Alone reads(*o.ranks);
    if (!path_exists(o.from)) input_error(o.from, ": there is no such run");
    const DirectoryLock lock(o.from, DirectoryLock::Hold::together);
    std::vector<std::string> found = checkpoints(o.from);
    for (; from.empty(); found.pop_back()) {
      if (found.empty()) input_error(o.from, "/checkpoints: holds no whole checkpoint to begin with");
      try {
        checked_checkpoint(found.back());
        from = found.back();
      } catch (const Error& e) { tell(cat("damaged checkpoint: ", e.what())); }
    }
  }
  from = broadcast_text(*o.ranks, from, 0);
  TrainingState state = engine.state();
  load_checkpoint_weights(from, state);
  if (o.writes()) tell(cat("begins with the weights of ", from));
}

void tell_mesh(const StepEngine& engine, const Json& config) {
  const Json* train = config.is_object() ? config.find("train") : nullptr;
  const Json* leaves = train && train->is_object() ? train->find("micro_batches") : nullptr;
  std::istringstream mesh(engine.parallel().describe(leaves ? leaves->as_int() : 0, engine.context().ranks()));
  for (std::string line; std::getline(mesh, line);) tell(line);
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

// The device's bytes at their highest since reset_peaks(), by what they were for: of a step, what plan says.
Json memory_of(const Device& device, std::int64_t step) {
  const MemoryUse use = device.memory();
  Json bytes = Json::object();
  for (int s = 0; s < segment_count; ++s)
    bytes.set(name_of(static_cast<Segment>(s)), use.peak[static_cast<std::size_t>(s)]);
  bytes.set("all_at_once", use.total_peak);
  return Json::object({{"step", step}, {"device", device.name}, {"bytes", bytes}});
}

// FLOP/s of f32 that the run's cores reach at most: those that are busy, not those that its ranks would like to have.
// 0, unknown: on GPUs.
double peak_of(const RunOptions& o) {
  if (o.device->kind != Device::Kind::cpu) return 0;
  const int cores = o.cores_here > 0 ? o.cores_here : threads();
  const double peak = kernels::cpu::fma_peak_flops(cores) * o.ranks->ranks() / o.ranks_here;
  if (o.ranks_here > 1)
    tell(cat("MFU: of ", static_cast<std::int64_t>(peak / 1e9), " GFLOP/s; ", o.ranks_here, " ranks of a machine have ",
             cores, cores == 1 ? " core" : " cores"));
  return peak;
}

Json about_json(Device& device) {
  Json all = Json::object();
  for (const auto& [name, value] : device.about()) all.set(name, value);
  return all;
}

// What rank 0 alone tells: run.jsonl, TensorBoard's events, the progress bar.
class Journal {
 public:
  Journal(const StepEngine& engine, const RunOptions& o, const Json& about, Resumed resumed)
      : log_(o.out + "/run.jsonl", engine.steps_done()), events_(o.out, engine.steps_done()), peak_(peak_of(o)) {
    if (!log_.damage().empty()) {
      tell(cat("damaged line: ", log_.damage(), "; the log is cut there"));
      resumed.damaged.push(log_.damage());
    }
    const Json gpu = about_json(*o.device);
    if (!log_.has_run()) {
      Json first = about;
      first.set("threads", threads());
      first.set("peak_flops", peak_);
      first.set("revision", revision());
      if (gpu.size() > 0) first.set("gpu", gpu);
      log_.run(first);
    }
    if (resumed.from.empty()) return;
    Json again = Json::object({{"step", engine.steps_done()},
                               {"revision", revision()},
                               {"threads", threads()},
                               {"changed", resumed.changed},
                               {"damaged", resumed.damaged}});
    if (gpu.size() > 0) again.set("gpu", gpu);
    note("resume", again);
  }
  void begin(const std::string& name, std::int64_t steps, std::int64_t done) {
    progress_.emplace(name, steps, "step", done);
  }
  void step(const StepReport& r) { events_.write(r.step, scalars(log_.step(r, peak_))); }
  void show(const StepReport& r) { progress_->update(r.step, progress_note(r, peak_)); }
  void end() { progress_.reset(); }
  void note(const std::string& type, const Json& members) { log_.note(type, members); }
  void sync() { log_.sync(), events_.sync(); }

 private:
  RunLog log_;
  tensorboard::Writer events_;
  const double peak_;
  std::optional<Progress> progress_;
};

}  // namespace

int stop_asked(Communicator& ranks) {
  constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};  // where ranks got several, the first of these counts
  const int own = StopSignals::asked();
  if (ranks.ranks() == 1) return own;
  std::vector<std::int64_t> asked;
  for (const int signal : signals) asked.push_back(own == signal);
  const Tensor counts = Tensor::of(asked, {std::ssize(asked)});
  ranks.all_reduce(counts);
  asked = counts.to_vector<std::int64_t>();
  for (std::size_t i = 0; i < asked.size(); ++i)
    if (asked[i] > 0) return signals[i];
  return 0;
}

RunDirectory::RunDirectory(const RunOptions& options, const std::string& result, const std::string& command,
                           const std::vector<std::string>& sources)
    : result_(options.out + "/" + result) {
  if (!options.writes()) return;
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
  // Of each rank by itself, so that check_same_on_ranks tells them apart; divided values were compared before.
  std::uint64_t starting_weights = 0;
  if (engine.parallel().divides_values()) {
    starting_weights = engine.values_checksum(false);
  } else {
    const auto sum = static_cast<std::int64_t>(whole_checksum(parameters, parameters.values(), 0, false));
    const Tensor all = Tensor::of(std::vector<std::int64_t>{sum}, {1});
    for (Communicator* parts : {&engine.tensor(), &engine.pipe(), &engine.experts()}) parts->all_reduce(all);
    starting_weights = static_cast<std::uint64_t>(all.data<std::int64_t>()[0]);
  }
  sources.set("starting_weights", hex16(starting_weights));
  Json about = Json::object({{"config", o.config},
                             {"sources", sources},
                             {"parameters", parameters.whole_count().all},
                             {"trained", parameters.whole_count().trained}});
  for (const auto& [key, value] : facts.counts.members()) about.set(key, value);
  Json given = about;
  given.set("data", Json::object({{"state", engine.state().data}, {"counts", facts.counts}}));
  check_same_on_ranks(*o.ranks, given);
  if (o.writes() && o.ranks->ranks() > 1) {
    tell_mesh(engine, o.config);
    if (!engine.options().tree && engine.ranks().ranks() > 1)
      tell("train.grad_sum chain: the bits of a sum depend on how many copies share it; tree has those of one");
  }
  KeptChoices choices(parameters.device(), o.out, o.ranks->rank());
  const Resumed resumed = resume(engine, o, about);
  if (resumed.from.empty() && !o.from.empty()) begin_from(engine, o);
  std::optional<Journal> journal;
  if (o.writes()) journal.emplace(engine, o, about, resumed);

  if (o.trace) {
    const std::int64_t step = o.trace->step(), all = engine.options().steps;
    if (step > all) input_error("log.trace_step ", step, ": the run ends with step ", all);
    if (step <= engine.steps_done() && o.writes())
      tell(cat("log.trace: step ", step, " was made before, so nothing is traced; log.trace_step names a later one"));
    engine.trace(o.trace);
  }
  StepReport report;
  report.step = engine.steps_done();
  std::int64_t padding = padding_of(engine.state().data);
  std::int64_t saved = engine.steps_done();
  // The log first: a checkpoint must not know of a step that a power cut took from the log.
  const auto save = [&] {
    if (journal) journal->sync();
    choices.save();
    save_checkpoint(o.out, engine.state(), about);
    if (o.writes()) prune_checkpoints(o.out, o.keep);
    saved = engine.steps_done();
  };
  int signal = 0;
  if (journal) journal->begin(facts.name, engine.options().steps, engine.steps_done());
  const std::int64_t before = engine.steps_done();
  parameters.device().flush();  // what loading took and gave back is not the step's
  parameters.device().reset_peaks();
  while (engine.steps_done() < engine.options().steps && !(signal = stop_asked(*o.ranks))) {
    report = engine.step();
    if (padding >= 0) {
      const std::int64_t all = padding_of(engine.state().data);
      report.parts.set("padding", all - padding), padding = all;
    }
    const bool last = report.step == engine.options().steps;
    if (journal && (last || (o.log_every > 0 && report.step % o.log_every == 0))) journal->step(report);
    if (journal && report.step == before + 1) journal->note("memory", memory_of(parameters.device(), report.step));
    if (last || (o.save_every > 0 && report.step % o.save_every == 0)) save();
    if (journal) journal->show(report);
  }
  if (journal) journal->end();
  if (!signal) signal = stop_asked(*o.ranks);
  if (signal) {
    if (saved < engine.steps_done()) save();
    if (journal) journal->note("stop", Json::object({{"step", engine.steps_done()}, {"signal", signal}}));
    o.ranks->barrier();  // nobody ends while rank 0 writes
    throw Error(stopped_by(signal),
                cat("stopped by ", StopSignals::name(signal), " after step ", engine.steps_done(), " of ",
                    engine.options().steps, engine.steps_done() > 0 ? ", which is saved" : "",
                    "; the same command goes on from there"));
  }
  if (!journal) return report;
  const Alone exports(*o.ranks);
  if (Parameters& all = engine.state().parameters; !all.has_all_masters()) {  // ranks have some each; the last save all
    const auto saved = std::make_shared<CheckpointReader>(CheckpointReader::open(checkpoints(o.out).back()));
    all.precise_from([saved](const Parameter& p) { return saved->tensor(p.name); });
  }
  const Json members = finish();
  if (engine.times().steps() > 0) journal->note("times", engine.times().json());
  Json end = Json::object({{"step", engine.steps_done()}});
  for (const auto& [key, value] : members.members()) end.set(key, value);
  journal->note("end", end);
  return report;
}

}  // namespace ov
