// The device `sim`: host memory, and the kernels of kernels/cuda run by kernels/sim. Tests only.
#pragma once
#include "tensor/device.h"

namespace ov {

// Holds the kernels that have a CUDA twin; calling another one is an input_error that names it.
Device& sim_device();

}  // namespace ov
