// Ranks of a run: who starts them, and how their errors reach the user.
#include <unistd.h>

#include <algorithm>

#include "base/parallel.h"
#include "base/progress.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "comm/launcher.h"
#include "comm/nccl_ranks.h"
#include "comm/process_ranks.h"
#include "comm/rank_in_job.h"
#include "train/same_run.h"
#include "train/step_trace.h"

namespace ov::cli {
namespace {

// Ranks that have a GPU each talk through NCCL; null: they have none.
std::unique_ptr<NcclRanks> over_gpus(const Config& config, int rank_here, ProcessRanks& ranks) {
  auto* gpu = dynamic_cast<gpu::CudaDevice*>(&gpu::device_named(config.text("device"), rank_here));
  if (!gpu) return nullptr;
  const std::string& sum = config.text("comm.sum");
  auto all = std::make_unique<NcclRanks>(ranks, *gpu, sum == "nccl" ? CommSum::nccl : CommSum::ordered);
  if (ranks.rank() == 0) tell(cat("NCCL ", all->version(), ", comm.sum ", sum));
  return all;
}

// The library adds what lies on a GPU.
void check_sum(const Config& config, int rank_here) {
  if (config.text("comm.sum") == "ordered" ||
      gpu::device_named(config.text("device"), rank_here).kind != Device::Kind::cpu)
    return;
  input_error("comm.sum nccl: ranks on the CPU add in order; it needs device cuda, and here is device ",
              config.text("device"), config.text("device") == "cpu" ? "" : ", which is the cpu");
}

}  // namespace

RankInJob rank_here(const Config& config) { return rank_of_process(config.text("comm.address")); }

// The first that fails says why. The others, which learn it from that one, end with the same code and in silence.
void in_ranks(const Config& config, const std::function<void(Communicator&)>& work) {
  const double timeout = config.number("comm.timeout");
  const RankInJob place = rank_here(config);
  check_sum(config, place.rank_here());
  if (place.ranks == 1) return work(one_rank());
  if (config.integer("threads") == 0) set_threads(std::max(1, threads() / place.ranks_here()));
  if (place.rank == 0)
    tell(cat(place.ranks, " ranks (", place.source, ")",
             place.share ? cat(", ", place.share->ranks, " of them on this machine") : ""));
  ProcessRanks ranks(place, timeout);
  const auto end = [&](Exit exit, std::string text) {
    if (!text.starts_with("rank ")) text = cat("rank ", place.rank, ": ", text);
    throw Error(exit, ranks.failed(exit, text) ? text : "");
  };
  std::unique_ptr<NcclRanks> gpus;  // ends after an error is told: the others would take its end for one of theirs
  try {
    gpus = over_gpus(config, place.rank_here(), ranks);
    Communicator& all = gpus ? static_cast<Communicator&>(*gpus) : ranks;
    check_same_on_ranks(all, Json::object({{"config", config.dump()}}), false);
    work(all);
    all.barrier();
    if (gpus) gpus->close();
    ranks.leave();
  } catch (const PeerFailed& e) { throw Error(e.exit(), ranks.speaks() ? e.what() : ""); } catch (const Error& e) {
    end(e.exit(), e.what());
  } catch (const std::bad_alloc&) { end(Exit::machine_failed, "out of memory"); } catch (const std::exception& e) {
    end(Exit::machine_failed, cat("internal error: ", e.what()));
  }
}

void set_ranks(const Config& config, Communicator& ranks, RunOptions& run) {
  run.ranks = &ranks;
  run.ranks_here = rank_here(config).ranks_here();
  // Ranks that `launch` starts may run on the same cores; others bind each to its own, so it knows of no more.
  const int cores = is_launched() ? usable_cores() : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  if (run.ranks_here > 1) run.cores_here = std::min(run.ranks_here * threads(), std::max(1, cores));
}

std::unique_ptr<StepTrace> share(const Config& config, Communicator& ranks, RunOptions& run) {
  const std::string& path = config.text("log.trace");
  const std::int64_t step = config.integer("log.trace_step");
  set_ranks(config, ranks, run);
  if (path.empty()) return nullptr;
  if (config.text("comm.sum") != "ordered")
    input_error("log.trace with comm.sum nccl: not built; ordered sums are of messages that a trace can show");
  auto trace = std::make_unique<StepTrace>(path, step, ranks);
  run.ranks = &trace->ranks(), run.trace = trace.get();
  return trace;
}

bool first_rank() {
  try {
    return rank_of_process("any:1").rank == 0;  // wherever rank 0 listens
  } catch (const Error&) { return true; }       // the verb says it
}

Exit launch(const Config& config) {
  const Strings& command = config.operands();
  if (command[0] == "launch") input_error("launch: launches no launch");
  bool in_ranks = false;
  for (const Key* key : keys().of(command[0])) in_ranks = in_ranks || key->name == "comm.timeout";
  if (!in_ranks) input_error("launch: '", command[0], "' does not run in ranks; train, pretrain and rl do");
  const auto whole = [&](const char* key) { return static_cast<int>(config.integer(key)); };
  const Launched job{whole("launch.ranks"), whole("launch.nodes"), whole("launch.node"), config.text("launch.address")};
  if (job.machine >= job.machines)
    input_error("launch.node: ", job.machine, " of launch.nodes ", job.machines, ": they count from 0");
  if (job.machines > 1 && job.address.empty())
    input_error("launch.address: expected HOST:PORT, where node 0 listens for the other of launch.nodes ",
                job.machines);
  if (job.machines == 1 && !job.address.empty())
    input_error("launch.address ", job.address, " has no effect without launch.nodes");
  launch_ranks(job, command);
  return Exit::done;
}

}  // namespace ov::cli
