// Ranks on two machines with a simulated GPU each: the stand-in for NCCL is its own transport, as the library is, and
// the ids of its communicators and all agreements go over the bridge.
#include <doctest/doctest.h>

#include <csignal>

#include "comm/nccl_ranks.h"
#include "tests/comm/every_call.h"
#include "tests/comm/forked_machines.h"
#include "tests/devices/foreign_device.h"

using namespace ov;
using namespace ov::test;

namespace {

std::vector<Ended> in_gpu_machines(const std::vector<int>& machines, CommSum sum,
                                   const std::function<void(NcclRanks&, ForeignDevice&)>& work) {
  return in_machines(machines, 20, [&](ProcessRanks& host) {
    ForeignDevice device(ForeignDevice::Policy::lazy, 1);
    NcclRanks ranks(host, device, sum);
    work(ranks, device);
    ranks.barrier();
    ranks.close();
  });
}

}  // namespace

TEST_CASE("nccl: every call over two machines, in order and by the library's sums; a rank killed there ends all") {
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    for (const Ended& e : in_gpu_machines({2, 1}, sum, [=](NcclRanks&ranks, ForeignDevice&device) {
           every_call(ranks, device, {0, 7, 4099}, {Dtype::f32},
                      sum == CommSum::nccl ? within_rounding : bits_of_ordered);
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);

  const auto ended = in_gpu_machines({1, 2}, CommSum::nccl, [](NcclRanks& ranks, ForeignDevice& device) {
    const Tensor t = numbers(Dtype::f32, 1000, ranks.rank()).to(device);
    ranks.all_reduce(t);
    ranks.at_step(3);
    if (ranks.rank() == 2) ::kill(::getpid(), SIGKILL);
    for (;;) ranks.all_reduce(t);
  });
  CHECK(ended[2].exit == -SIGKILL);
  for (const std::size_t r : {0, 1}) CHECK(ended[r].exit == 3);
  CHECK(contains(ended[0].error + ended[1].error, "rank 2 ended without a word in step 3"));
}
