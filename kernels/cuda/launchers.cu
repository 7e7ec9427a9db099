// One entry for every kernel of kernels/table.h: a kernel without a twin does not link.
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {

const Launchers& launchers() {
  static const Launchers table = {
#define OV_ENTRY(name, Args) .name = name,
      OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
  };
  return table;
}

}  // namespace ov::kernels::OV_CUDA
