// Sums over rows: dw_c += Σ_n term(n, c), in the order of kernels/cpu/row_sums.h, hence with its bits, without
// atomics: blocks of 64 rows are summed in order, blocks are combined by a binary tree, the total is added to dw once.
//
//   sum_blocks   partial[b][c], one thread a column and block; the threads of a warp read neighbouring columns
//   sum_tree     64 partial rows at a time to one, until one is left
#pragma once
#include "kernels/cuda/rows.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {

constexpr int tree_columns = 32, tree_threads = 8;

// `term(n, c)` is a struct whose operator() the device calls, since lambdas do not pass through launch under nvcc.
template <class F>
__global__ void sum_blocks(float* partial, F term, std::int64_t N, std::int64_t C) {
  const std::int64_t b = blockIdx.x, c = std::int64_t(blockIdx.y) * blockDim.x + threadIdx.x;
  if (c >= C) return;
  constexpr int at_once = 8;  // loads in flight
  float sum = 0;
  for (std::int64_t n = b * rows_in_block; n < (b + 1) * rows_in_block && n < N; n += at_once) {
    float terms[at_once];
    for (int k = 0; k < at_once; ++k) terms[k] = n + k < N ? term(n + k, c) : 0.f;
    for (int k = 0; k < at_once; ++k) sum += terms[k];
  }
  partial[b * C + c] = sum;
}

// Block (i, j): rows 64 i ... of `from` [B,C] and 32 columns become row i of `to`, or are added to it.
template <bool add>
__global__ void sum_tree(float* to, const float* from, std::int64_t B, std::int64_t C) {
  SHARED(float, tile, rows_in_tree, tree_columns);
  const std::int64_t first = std::int64_t(blockIdx.x) * rows_in_tree;
  const std::int64_t c = std::int64_t(blockIdx.y) * tree_columns + threadIdx.x;
  const int rows = B - first < rows_in_tree ? static_cast<int>(B - first) : rows_in_tree, x = threadIdx.x;
  for (int i = threadIdx.y; i < rows; i += tree_threads) tile[i][x] = c < C ? from[(first + i) * C + c] : 0.f;
  __syncthreads();
  for (int step = 1; step < rows; step *= 2) {
    for (int i = 2 * step * threadIdx.y; i + step < rows; i += 2 * step * tree_threads) tile[i][x] += tile[i + step][x];
    __syncthreads();
  }
  if (threadIdx.y > 0 || c >= C) return;
  float* sum = to + blockIdx.x * C + c;
  *sum = add ? *sum + tile[0][x] : tile[0][x];
}

// dw [C] f32, or null. The scratch goes back to the device when its owner returns: a device whose stream still works on
// it hands it out again in the order of that stream only.
template <class F>
void add_sum_of_rows(const SumScratch& space, const Tensor& dw, const F& term, gpu::Stream stream) {
  if (!dw || !space.partial) return;
  constexpr int threads = 128;
  const std::int64_t N = space.N, C = space.C;
  std::int64_t B = ceil_div(N, rows_in_block);
  float* from = space.partial.device_data<float>();
  launch(sum_blocks<F>, dim3(static_cast<unsigned>(B), ceil_div(C, threads)), dim3(threads), 0, stream, from, term, N,
         C);
  for (;;) {
    const std::int64_t left = ceil_div(B, rows_in_tree);
    const dim3 grid(static_cast<unsigned>(left), ceil_div(C, tree_columns)), block(tree_columns, tree_threads);
    if (left == 1) return launch(sum_tree<true>, grid, block, 0, stream, dw.device_data<float>(), from, B, C);
    float* const next = from + B * C;
    launch(sum_tree<false>, grid, block, 0, stream, next, from, B, C);
    from = next, B = left;
  }
}

}  // namespace ov::kernels::OV_CUDA
