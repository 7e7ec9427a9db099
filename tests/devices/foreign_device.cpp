#include "tests/devices/foreign_device.h"

#include "kernels/gpu/nccl.h"
#include "kernels/sim/nccl_stand_in.h"
#include "kernels/table.h"
#include "tests/devices/arguments.h"

namespace ov::test {
namespace {

template <class Args, void (*kernel)(const Args&)>
void late(const Args& a, const char* name) {
  struct Call {
    Args args;
    std::vector<std::shared_ptr<void>> tables;
  };
  const auto call = std::make_shared<Call>(Call{a, {}});
  ForeignDevice* device = nullptr;
  std::vector<const void*> uses;
  adopt(call->args, call->tables, [&](Tensor& t) {
    auto* its = dynamic_cast<ForeignDevice*>(&t.device());
    if (!its || (device && its != device)) input_error(name, ": an argument lies on ", t.device().name);
    device = its;
    const Storage& s = *t.storage();
    uses.push_back(s.data);
    static const auto nobody = std::make_shared<int>();  // an owner, so that nothing is released
    t = t.over(std::make_shared<Storage>(cpu(), device->working(s.data), s.bytes, nobody));
  });
  device->simulated().enqueue(device->stream(), name, uses, [call] { kernel(call->args); });
}

}  // namespace

const kernels::Table& ForeignDevice::cpu_kernels() {
  static const kernels::Table table = {
#define OV_ENTRY(name, Args) .name = [](const kernels::Args& a) { late<kernels::Args, kernels::cpu::name>(a, #name); },
      OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
  };
  return table;
}

// Chunks are small, so that blocks are handed out again soon. GPU number 1: a thread that has not chosen one is on 0.
ForeignDevice::ForeignDevice(Policy policy, std::uint64_t seed, std::size_t capacity, const kernels::Table* table,
                             Layout layout)
    : HasRuntime{{policy, seed, capacity, layout, 1}},
      CudaDevice(machine, kernels::simulated::launchers(),
                 {.kind = Kind::foreign,
                  .name = "foreign",
                  .index = 1,
                  .chunk = std::min<std::size_t>(capacity / 2, std::size_t{1} << 20),
                  .data_chunk = std::min<std::size_t>(capacity / 4, std::size_t{1} << 18),
                  .staging = std::size_t{1} << 20},
                 table) {
  gpu::bring_nccl(*this, sim::nccl_stand_in());
}

}  // namespace ov::test
