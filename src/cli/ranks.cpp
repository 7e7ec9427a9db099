// Ranks of a run: who starts them, and how their errors reach the user.
#include "base/parallel.h"
#include "base/progress.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "comm/launcher.h"
#include "comm/process_ranks.h"
#include "comm/rank_in_job.h"
#include "train/step_trace.h"

namespace ov::cli {

// The first that fails says why. The others, which learn it from that one, end with the same code and in silence.
void in_ranks(const Config& config, const std::function<void(Communicator&)>& work) {
  const double timeout = config.number("comm.timeout");
  const RankInJob place = rank_of_process();
  if (place.ranks == 1) return work(one_rank());
  if (config.integer("threads") == 0) set_threads(std::max(1, threads() / place.ranks));
  if (place.rank == 0) tell(cat(place.ranks, " ranks (", place.source, ")"));
  ProcessRanks ranks(place, timeout);
  const auto end = [&](Exit exit, std::string text) {
    if (!text.starts_with("rank ")) text = cat("rank ", place.rank, ": ", text);
    throw Error(exit, ranks.failed(exit, text) ? text : "");
  };
  try {
    work(ranks);
    ranks.barrier();
    ranks.leave();
  } catch (const PeerFailed& e) { throw Error(e.exit(), ranks.speaks() ? e.what() : ""); } catch (const Error& e) {
    end(e.exit(), e.what());
  } catch (const std::bad_alloc&) { end(Exit::machine_failed, "out of memory"); } catch (const std::exception& e) {
    end(Exit::machine_failed, cat("internal error: ", e.what()));
  }
}

std::unique_ptr<StepTrace> share(const Config& config, Communicator& ranks, RunOptions& run) {
  const std::string& path = config.text("log.trace");
  const std::int64_t step = config.integer("log.trace_step");
  run.ranks = &ranks;
  if (path.empty()) return nullptr;
  auto trace = std::make_unique<StepTrace>(path, step, ranks);
  run.ranks = &trace->ranks(), run.trace = trace.get();
  return trace;
}

bool first_rank() {
  try {
    return rank_of_process().rank == 0;
  } catch (const Error&) { return true; }  // the verb says it
}

Exit launch(const Config& config) {
  const Strings& command = config.operands();
  if (command[0] == "launch") input_error("launch: launches no launch");
  bool in_ranks = false;
  for (const Key* key : keys().of(command[0])) in_ranks = in_ranks || key->name == "comm.timeout";
  if (!in_ranks) input_error("launch: '", command[0], "' does not run in ranks; train, pretrain and rl do");
  launch_ranks(static_cast<int>(config.integer("launch.ranks")), command);
  return Exit::done;
}

}  // namespace ov::cli
