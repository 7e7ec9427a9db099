#include "tests/tools/gpu_ranks_check.h"

#include <csignal>
#include <cstdio>

#include "tests/devices/nccl_weights.h"
#include "tests/devices/sim_device.h"

namespace ov::test {
namespace {

// In a child: the parent must not open the driver.
int gpus() {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string reason;
    gpu::Runtime* runtime = gpu::cuda_runtime(reason);
    ::_exit(runtime ? std::min(8, runtime->device_count(reason)) : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

bool told(const char* what, int n, const std::vector<Ended>& ended,
          const std::function<bool(int, const Ended&)>& right) {
  bool all = true;
  for (std::size_t r = 0; r < ended.size(); ++r)
    if (!right(static_cast<int>(r), ended[r])) {
      std::printf("ranks: rank %d of %d, %s: exit %d, %s\n", static_cast<int>(r), n, what, ended[r].exit,
                  ended[r].error.c_str());
      all = false;
    }
  if (all) std::printf("ranks: %d GPUs, %s: right\n", n, what);
  return all;
}

}  // namespace

int check_gpu_ranks(bool simulated) {
  const int n = simulated ? 2 : gpus();
  if (n < 2) {
    std::printf("ranks: fewer than two GPUs here: nothing over NCCL was checked\n");
    return 0;
  }
  const auto some_do = [&](int n, CommSum sum, double timeout, const GpuRankWork& work) {
    return in_ranks(n, timeout, [&](ProcessRanks& host) {
      if (simulated) gpu::bring_gpu(new SimDevice(SimDevice::Policy::lazy));
      auto& device = dynamic_cast<gpu::CudaDevice&>(gpu::device_named("cuda", host.rank()));
      NcclRanks ranks(host, device, sum);
      work(ranks, device);
      ranks.barrier();
      ranks.close();
    });
  };
  const auto ranks_do = [&](CommSum sum, double timeout, const GpuRankWork& work) {
    return some_do(n, sum, timeout, work);
  };
  const auto well = [](int, const Ended& e) { return e.exit == 0; };
  const std::vector<std::int64_t> sizes =
      simulated ? std::vector<std::int64_t>{0, 1, 4099} : std::vector<std::int64_t>{0, 1, 7, 4099, 1000003};
  bool right = told("ordered sums have one rank's bits", n,
                    ranks_do(CommSum::ordered, 60,
                             [&](NcclRanks& ranks, gpu::CudaDevice& device) {
                               every_call(ranks, device, sizes, {Dtype::f32, Dtype::bf16, Dtype::i64});
                             }),
                    well);
  right &= told(
      "NCCL's sums are within rounding, and repeat their bits", n,
      ranks_do(CommSum::nccl, 60,
               [&](NcclRanks& ranks, gpu::CudaDevice& device) {
                 every_call(ranks, device, sizes, {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i64}, within_rounding);
                 const Tensor first = numbers(Dtype::f32, 100003, ranks.rank()).to(device);
                 const Tensor start = first.contiguous_copy();
                 ranks.all_reduce(first);
                 for (int i = 0; i < 20; ++i) {
                   const Tensor again = start.contiguous_copy();
                   ranks.all_reduce(again);
                   require(same_bits(again, first), cat("all_reduce number ", i, " has other bits"));
                 }
               }),
      well);
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl}) {
    right &= told("groups have their own calls", n, ranks_do(sum, 60, groups_sum), well);
    for (const Differing& d : calls_that_differ(sum)) {
      const auto ended = some_do(2, sum, 20, d.work);
      const std::string said = ended[0].error + "\n" + ended[1].error;
      right &= told(cat("calls of another ", d.what, " are named on both sides").c_str(), 2, ended,
                    [&](int, const Ended& e) { return e.exit != 0 && d.right(said); });
    }
  }
  right &= told("messages of the host keep their place", n,
                ranks_do(CommSum::ordered, 60, host_messages_keep_their_place), well);
  right &= told("weights go from a trainer to generators", n, ranks_do(CommSum::ordered, 60, hands_over_weights), well);
  if ((n & (n - 1)) == 0)
    right &= told("steps have the bits of one GPU for every stage of ZeRO, beside backward too", n,
                  ranks_do(CommSum::ordered, 120,
                           [&](NcclRanks& ranks, gpu::CudaDevice& device) {
                             for (int zero = 0; zero < (simulated ? 1 : 4); ++zero)
                               for (const bool overlap : {false, true})
                                 if (zero < 3 || !overlap) trains_as_one(ranks, device, zero, overlap);
                           }),
                  well);
  right &= told("a rank that is killed ends the others", n,
                ranks_do(CommSum::nccl, 60,
                         [&](NcclRanks& ranks, gpu::CudaDevice& device) {
                           const Tensor t = numbers(Dtype::f32, 100003, ranks.rank()).to(device);
                           for (int i = 0; i < 50; ++i) {
                             if (i == 20 && ranks.rank() == 1) std::raise(SIGKILL);
                             ranks.all_reduce(t);
                           }
                           t.to_vector<float>();
                         }),
                [](int r, const Ended& e) { return e.exit == (r == 1 ? -SIGKILL : 3); });
  return right ? 0 : 1;
}

}  // namespace ov::test
