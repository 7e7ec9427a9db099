#include <unistd.h>

#include "audit/plan_device.h"
#include "base/progress.h"
#include "cli/verbs.h"
#include "comm/rank_in_job.h"
#include "kernels/gpu/cuda_device.h"

namespace ov::cli {
namespace {

// Bytes that a rank's step may take, and who says so.
struct Room {
  std::int64_t bytes;
  std::string said;
};
Room room_of(const Config& config, const RunOptions& run, std::int64_t budget) {
  if (budget > 0) return {budget, "train.memory_budget"};
  if (auto* gpu = dynamic_cast<gpu::CudaDevice*>(run.device)) {
    // Beside what stands there, and what this process has: of the rest a tenth for blocks that do not join.
    const gpu::Runtime::Memory now = (gpu->enter(), gpu->runtime().memory_info());
    return {(static_cast<std::int64_t>(now.free) + gpu->memory().total) / 10 * 9, "nine tenths of what is free there"};
  }
  const std::int64_t all = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  const int here = rank_here(config).ranks_here();
  return {all / here, here > 1 ? "this machine's, by rank" : "this machine's"};
}

}  // namespace

std::int64_t fitting_blocks(const Config& config, const RunOptions& run, PlanOptions like, const ModelConfig& model,
                            const GlobalStep& first) {
  like.gpu = run.device->kind != Device::Kind::cpu;
  like.ranks = run.ranks->ranks(), like.rank = run.ranks->rank();
  like.rows = first.micro_batches;
  const Room room = room_of(config, run, like.train.memory_budget);
  const FittedRun fitted = fit_run(model, like, room.bytes);
  if (run.writes())
    tell(cat("train.recompute ", config.text("train.recompute"), ": ", fitted.recomputed, " of ", fitted.blocks,
             " blocks; a step like the first takes ", static_cast<double>(fitted.bytes) / 1e9, " GB of ",
             static_cast<double>(room.bytes) / 1e9, ", ", room.said,
             fitted.bytes > room.bytes ? ": too much even so" : ""));
  return fitted.recomputed;
}

}  // namespace ov::cli
