#include "tests/devices/sim_device.h"

#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"

namespace ov::test {

SimDevice::SimDevice(Policy policy, std::uint64_t seed, std::size_t capacity, Layout layout)
    : ForeignDevice(policy, seed, capacity, nullptr, layout) {
  gpu::bring_cublaslt(*this, sim::cublaslt_stand_in());
}

}  // namespace ov::test
