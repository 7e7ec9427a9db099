// y = x wᵀ for few rows of x (decoding, a chunk of a prompt): a row's bits depend on the row, on w and on nothing else,
// least of all on how many rows there are. They are the CPU's.
#pragma once
#include "kernels/cuda/language.h"
#include "kernels/gemm.h"

namespace ov::kernels::OV_CUDA {

constexpr std::int64_t few_rows = 16;  // up to so many gemm() comes here

// trans_b and neither trans_a nor accumulate; any number of rows.
void gemm_of_rows(const Gemm&, gpu::Stream);

}  // namespace ov::kernels::OV_CUDA
