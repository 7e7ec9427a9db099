// Ranks that are processes with a simulated GPU each, over a stand-in for NCCL.
#include <doctest/doctest.h>

#include "comm/group.h"
#include "comm/nccl_ranks.h"
#include "kernels/sim/nccl_stand_in.h"
#include "tests/comm/every_call.h"
#include "tests/comm/forked_ranks.h"
#include "tests/devices/foreign_device.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

using Work = std::function<void(NcclRanks&, ForeignDevice&)>;

std::vector<Ended> in_gpu_ranks(int n, double timeout, Policy policy, CommSum sum, const Work& work) {
  return in_ranks(n, timeout, [&](ProcessRanks& host) {
    ForeignDevice device(policy, 1);
    NcclRanks ranks(host, device, sum);
    work(ranks, device);
    ranks.barrier();
    ranks.close();
    require(sim::nccl_communicators() == 0, "every communicator has ended");
  });
}

void all_well(const std::vector<Ended>& ended) {
  for (const Ended& e : ended) CHECK_MESSAGE(e.exit == 0, e.error);
}

}  // namespace

TEST_CASE("nccl: every call on simulated GPUs has the bits of ranks on the CPU, whatever order streams run in") {
  for (const int n : {1, 2, 4})
    for (const Policy policy : {Policy::eager, Policy::lazy, Policy::others_first, Policy::random})
      all_well(in_gpu_ranks(n, 20, policy, CommSum::ordered, [](NcclRanks& ranks, ForeignDevice& device) {
        every_call(ranks, device, {0, 1, 7, 4099}, {Dtype::f32, Dtype::bf16});
        every_call(ranks, device, {5}, {Dtype::f64, Dtype::i64});
      }));
}
