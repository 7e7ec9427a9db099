#include "kernels/sim/device.h"

#include "kernels/gpu/cublaslt.h"
#include "kernels/gpu/launchers.h"
#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/table.h"

namespace ov {
namespace {

using kernels::simulated::launchers;

kernels::Table table() {
  kernels::Table t;
#define OV_ENTRY(name, Args) t.name = [](const kernels::Args& a) { launchers().name(a, nullptr); };
  OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
  t.copy = kernels::cpu::copy;  // its memory is the host's: what goes in and out is no kernel's work
  t.fill = kernels::cpu::fill;
  return t;
}

}  // namespace

Device& sim_device() {
  static const kernels::Table kernels = table();
  static HostDevice* device = [] {
    auto* d = new HostDevice(Device::Kind::sim, "sim", &kernels);  // outlives every tensor
    gpu::bring_cublaslt(*d, sim::cublaslt_stand_in());
    return d;
  }();
  return *device;
}

}  // namespace ov
