// y = x wᵀ where a row's bits depend on the row, on w and on nothing else, least of all on how many rows there are
// (kernels/row_products.h). trans_b and neither trans_a nor accumulate; any number of rows.
#pragma once
#include "kernels/cuda/language.h"
#include "kernels/gemm.h"

namespace ov::kernels::OV_CUDA {

// With the CPU's bits.
void gemm_of_rows(const Gemm&, gpu::Stream);
// On tensor cores where types and alignment allow it, else gemm_of_rows: which of the two, no number of rows decides.
void gemm_of_chunk(const Gemm&, gpu::Stream);

}  // namespace ov::kernels::OV_CUDA
