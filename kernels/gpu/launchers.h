// A GPU's kernels by name (kernels/cuda/launchers.h), from two compilers: nvcc's run on a GPU, and kernels/sim runs
// those that a C++ compiler made of the same text.
#pragma once
#include "kernels/gpu/runtime.h"
#include "kernels/table.h"

namespace ov::kernels {

struct Launchers {
#define OV_MEMBER(name, Args) void (*name)(const Args&, gpu::Stream);
  OV_KERNELS(OV_MEMBER)
#undef OV_MEMBER
};

namespace cuda {
const Launchers& launchers();
}
namespace simulated {
const Launchers& launchers();
}

}  // namespace ov::kernels
