// A GPU on a machine without one: the foreign device's memory, queues and guards, and the kernels of kernels/cuda run
// by kernels/sim. Launchers are host code and see the addresses that tensors have; launch() moves those among a
// kernel's parameters into the mapping that kernels work in, when it queues the kernel.
//
// Faults, beside the foreign device's: a kernel's parameter that points to the host's memory, or that is a working
// address already.
#pragma once
#include "kernels/sim/stream.h"
#include "tests/devices/foreign_device.h"

namespace ov::test {

class SimDevice : public ForeignDevice {
 public:
  explicit SimDevice(Policy policy = Policy::eager, std::uint64_t seed = 0, std::size_t capacity = std::size_t{1} << 32,
                     Layout layout = Layout::packed);
  ~SimDevice() override;
  ov_sim_stream* stream() { return &stream_; }

 private:
  struct Queue : ov_sim_stream {
    explicit Queue(SimDevice& device) : device(device) {}
    void relocate(std::uint64_t* words, std::size_t count) override;
    void enqueue(std::function<void()> run) override;
    SimDevice& device;
    std::vector<Use> uses;  // of the launch whose parameters are being moved
  };
  Queue stream_{*this};
};

}  // namespace ov::test
