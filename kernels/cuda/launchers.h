// The CUDA twins of the kernels in kernels/cpu: same contracts, same argument structs, and the stream to run in.
// Each returns once the work is queued. Arguments have passed the checking door (kernels/check.h).
//
// f32 and bf16, whose arithmetic is f32. kernels/sim runs the same text without a GPU.
//
// What the host cannot be told of is answered in the numbers, since a kernel cannot throw: an index outside of its
// table gives a row of NaN, and adds to nothing.
#pragma once
#include "kernels/cuda/language.h"
#include "kernels/gpu/launchers.h"

namespace ov::kernels::OV_CUDA {

#define OV_DECLARE(name, Args) void name(const Args&, gpu::Stream);
OV_KERNELS(OV_DECLARE)
#undef OV_DECLARE

}  // namespace ov::kernels::OV_CUDA
