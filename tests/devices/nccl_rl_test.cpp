// Mode disaggregated with a simulated GPU for each rank: weights go from the trainer to generators over the stand-in
// for NCCL, and the bits are those of the CPU.
#include "kernels/sim/nccl_stand_in.h"
#include "rl/disaggregated.h"
#include "tests/devices/foreign_device.h"
#include "tests/devices/nccl_weights.h"
#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

using Policy = ForeignDevice::Policy;

RlJob apart(const Lessons& lessons, const std::string& out) {
  RlJob job = lessons.job(out);
  job.mode = Mode::disaggregated, job.policy.staleness = 1;
  return job;
}

// dies_at: the group of NCCL's calls in which rank 1, the first generator, is killed; 0: none.
std::vector<Ended> on_gpus(int n, const RlJob& given, Policy policy, int dies_at = 0) {
  return in_ranks(n, 60, [&](ProcessRanks& host) {
    ForeignDevice device(policy, 1);
    NcclRanks ranks(host, device, CommSum::ordered);
    if (host.rank() == 1) sim::nccl_modes().dies_at = dies_at;
    RlJob job = given;
    job.ranks = &ranks, job.device = &device;
    silently([&] { return run_rl(job); });
    ranks.barrier();
    ranks.close();
  });
}

}  // namespace

TEST_CASE("rl on GPUs: generators get their weights through NCCL, and the log replays on the CPU to the same bits") {
  const Lessons lessons;
  for (const auto& [n, generators, policy] :
       {std::tuple(2, 1, Policy::lazy), {3, 2, Policy::others_first}, {3, 1, Policy::lazy}}) {
    INFO(n, " ranks, ", generators, " generators");
    RlJob job = apart(lessons, cat("run", n, generators));
    job.generators = generators;
    for (const Ended& e : on_gpus(n, job, policy)) REQUIRE_MESSAGE(e.exit == 0, e.error);
    RlJob again = job;
    again.events = job.out + "/run.jsonl", again.out = lessons.path(cat("replay", n, generators));
    silently([&] { return run_rl(again); });
    REQUIRE(step_checksums(job.out).size() == 4);
    CHECK(step_checksums(again.out) == step_checksums(job.out));
  }
}

TEST_CASE("rl on GPUs: a generator that dies while its weights come ends the run, which then goes on") {
  const Lessons lessons;
  const RlJob job = apart(lessons, "killed");
  const auto ended = on_gpus(2, job, Policy::lazy, 2);  // one trainer, one generator: no sums, NCCL has weights alone
  CHECK(ended[1].exit == -SIGKILL);
  CHECK(ended[0].exit == 3);
  CHECK_MESSAGE(contains(ended[0].error, "rank 1 ended without a word"), ended[0].error);
  CHECK_MESSAGE(contains(ended[0].error, "; it generated, and the same command goes on"), ended[0].error);
  for (const Ended& e : on_gpus(2, job, Policy::lazy)) CHECK_MESSAGE(e.exit == 0, e.error);
  CHECK(step_checksums(job.out).size() == 4);
}

TEST_CASE("rl on GPUs: weights are handed over whole, in buckets of any size") {
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    for (const Policy policy : {Policy::lazy, Policy::others_first})
      all_well(in_ranks(3, 60, [&](ProcessRanks& host) {
        ForeignDevice device(policy, 1);
        NcclRanks ranks(host, device, sum);
        hands_over_weights(ranks, device);
        ranks.barrier();
        ranks.close();
      }));
}

}  // namespace ov::test
