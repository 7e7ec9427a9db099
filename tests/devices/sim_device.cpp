#include "tests/devices/sim_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include "kernels/cuda/launchers.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/table.h"
#include "tests/devices/arguments.h"

namespace ov::test {
namespace {

using kernels::cuda::launchers;

// The stream of the device that the arguments lie on.
template <class Args>
ov_sim_stream* stream_of(const Args& a) {
  SimDevice* device = nullptr;
  for_each_field(const_cast<Args&>(a), [&](auto& field) {
    if constexpr (std::is_same_v<decltype(field), Tensor&>)
      if (field && !device) device = dynamic_cast<SimDevice*>(&field.device());
  });
  return device->stream();
}

const kernels::Table& sim_table() {
  static const kernels::Table table = [] {
    kernels::Table t;
#define OV_ENTRY(name, Args) t.name = [](const kernels::Args& a) { launchers().name(a, stream_of(a)); };
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
    return t;
  }();
  return table;
}

bool mapped(std::uint64_t address) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  unsigned char resident = 0;
  return mincore(reinterpret_cast<void*>(address / page * page), 1, &resident) == 0;
}

}  // namespace

SimDevice::SimDevice(Policy policy, std::uint64_t seed, std::size_t capacity, Layout layout)
    : ForeignDevice(policy, seed, capacity, &sim_table(), layout) {
  gpu::bring_cublaslt(*this, sim::cublaslt_stand_in());
}

SimDevice::~SimDevice() { gpu::close_cublaslt(*this); }

void SimDevice::Queue::relocate(std::uint64_t* words, std::size_t count) {
  constexpr std::uint64_t lowest = std::uint64_t{1} << 32, end = std::uint64_t{1} << 47;  // where addresses lie
  for (std::uint64_t* w = words; w < words + count; ++w) {
    if (*w < lowest || *w >= end) continue;
    const auto* address = reinterpret_cast<const void*>(*w);
    if (device.holds(address)) {
      uses.push_back(device.use_of("launch", address));
      *w = reinterpret_cast<std::uint64_t>(device.working(address));
    } else if (device.holds_working(address)) {
      throw std::logic_error("sim: a kernel's parameter is a working address: somebody stored a kernel's pointer");
    } else if (mapped(*w)) {
      throw std::logic_error("sim: a kernel's parameter points to the host's memory");
    }
  }
}

void SimDevice::Queue::enqueue(std::function<void()> run) {
  device.ForeignDevice::enqueue("launch", Stream::compute, std::exchange(uses, {}), std::move(run));
}

}  // namespace ov::test
