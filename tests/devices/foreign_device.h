// The device `foreign`: what a GPU would show about the host's code, on a machine without one. Tests only. It is the
// CudaDevice of kernels/gpu on the simulated runtime, with the cpu's kernels, so that all its bits are the cpu's.
#pragma once
#include "kernels/gpu/cuda_device.h"
#include "kernels/sim/runtime.h"

namespace ov::test {

struct HasRuntime {  // before the device that works with it, and until after its end
  sim::SimRuntime machine;
};

class ForeignDevice : private HasRuntime, public gpu::CudaDevice {
 public:
  using Policy = sim::SimRuntime::Policy;
  using Layout = sim::SimRuntime::Layout;
  static constexpr std::size_t usual_capacity = std::size_t{1} << 32;
  explicit ForeignDevice(Policy policy, std::uint64_t seed = 0, std::size_t capacity = usual_capacity,
                         const kernels::Table* table = &cpu_kernels(), Layout layout = Layout::packed);

  sim::SimRuntime& simulated() { return machine; }
  gpu::Stream stream() { return enter(); }  // of kernels
  std::size_t queued() const { return machine.queued(); }
  std::int64_t ran() const { return machine.counts().ran; }
  std::int64_t reads() const { return machine.counts().reads; }
  std::int64_t waits() const { return machine.counts().waits; }
  void* working(const void* address) const { return machine.memory().working(address); }

 private:
  static const kernels::Table& cpu_kernels();  // each queued, on memory that kernels may touch
};

}  // namespace ov::test
