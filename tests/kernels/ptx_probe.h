// Every function of kernels/cuda/ptx.h and ptx_barrier.h in a few small kernels: what nvcc must assemble for each GPU
// (make cuda-check), and what a GPU must compute as the twins do (make gpu-check).
#pragma once
#include "kernels/gpu/runtime.h"
#include "tensor/tensor.h"

namespace ov::probe {

constexpr int inputs = 640, exact = 256 + 64 + 64, outputs = exact + 32;

// From in [inputs] f32, small whole numbers, to out [outputs] f32: D = A B of 16 x 16 x 16, sums of what came by
// cp.async and through mbarriers, all of them exact; then 32 powers of two, each within 2 units of the last place.
namespace cuda {
void run(const Tensor& out, const Tensor& in, gpu::Stream stream);
}
namespace simulated {
void run(const Tensor& out, const Tensor& in, gpu::Stream stream);
}

}  // namespace ov::probe
