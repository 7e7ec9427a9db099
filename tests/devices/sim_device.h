// A GPU on a machine without one: CudaDevice on the simulated runtime, with the kernels of kernels/cuda run by
// kernels/sim, and products by the stand-in for cuBLASLt.
#pragma once
#include "tests/devices/foreign_device.h"

namespace ov::test {

class SimDevice : public ForeignDevice {
 public:
  explicit SimDevice(Policy policy = Policy::eager, std::uint64_t seed = 0, std::size_t capacity = usual_capacity,
                     Layout layout = Layout::packed);
};

}  // namespace ov::test
