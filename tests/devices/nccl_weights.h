// Weights of RL over NCCL, on simulated GPUs and by `make gpu-check` on real ones (nccl_cases.h).
#pragma once
#include "rl/disaggregated.h"
#include "tests/devices/nccl_cases.h"

namespace ov::test {

// From a trainer to generators, in buckets of any size.
inline void hands_over_weights(NcclRanks& ranks, gpu::CudaDevice& device) {
  for (const std::int64_t bucket : {4, 28, 4000, 1 << 20}) {
    const Tensor values = numbers(Dtype::f32, 101, ranks.rank()).to(device);
    rl::hand_over_weights(ranks, 0, values, bucket);
    require(same_bits(values, numbers(Dtype::f32, 101, 0)), cat("buckets of ", bucket, " bytes: the values of rank 0"));
  }
}

}  // namespace ov::test
