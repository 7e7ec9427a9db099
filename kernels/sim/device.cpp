#include "kernels/sim/device.h"

#include "kernels/cuda/launchers.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/table.h"

namespace ov {
namespace {

using namespace kernels;

template <class Args, void (*launcher)(const Args&, cudaStream_t)>
void in_order(const Args& a) {
  launcher(a, nullptr);
}

const Table sim_table = {
    .copy = cpu::copy,  // its memory is the host's
    .fill = cpu::fill,
    .gemm = in_order<Gemm, cuda::gemm>,
    .rmsnorm_forward = in_order<RmsnormForward, cuda::rmsnorm_forward>,
    .rmsnorm_backward = in_order<RmsnormBackward, cuda::rmsnorm_backward>,
    .swiglu_forward = in_order<SwigluForward, cuda::swiglu_forward>,
    .swiglu_backward = in_order<SwigluBackward, cuda::swiglu_backward>,
    .attention_forward = in_order<AttentionForward, cuda::attention_forward>,
    .attention_backward = in_order<AttentionBackward, cuda::attention_backward>,
    .cross_entropy_forward = in_order<CrossEntropyForward, cuda::cross_entropy_forward>,
    .cross_entropy_backward = in_order<CrossEntropyBackward, cuda::cross_entropy_backward>,
    .region_attention_forward = in_order<RegionAttentionForward, cuda::region_attention_forward>,
    .region_attention_backward = in_order<RegionAttentionBackward, cuda::region_attention_backward>,
    .grouped_gemm = in_order<GroupedGemm, cuda::grouped_gemm>,
};

}  // namespace

Device& sim_device() {
  static HostDevice* device = [] {
    auto* d = new HostDevice(Device::Kind::sim, "sim", &sim_table);  // outlives every tensor
    gpu::bring_cublaslt(*d, sim::cublaslt_stand_in());
    return d;
  }();
  return *device;
}

}  // namespace ov
