// Sums over rows: dw_c += Σ_n term(n, c), in the order of kernels/cpu/row_sums.h, hence with its bits, without
// atomics: blocks of 64 rows are summed in order, blocks are combined by a binary tree, the total is added to dw once.
//
//   sum_blocks   partial[b][c], one thread a packet of columns and block of rows:
//
//                  rows 64 b ...      | packet 0 | packet 1 | ...    threadIdx.x and blockIdx.y walk the packets,
//                  rows 64 (b+1) ...  | packet 0 | packet 1 | ...    threadIdx.y and blockIdx.x the blocks of rows
//
//   sum_tree     64 partial rows at a time to one, until one is left: by single columns, since it is 1/64 of the work
#pragma once
#include "kernels/cuda/rows.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {

constexpr int tree_columns = 32, tree_threads = 8;

// Term is a struct with `template <int width> __device__ Packet<float, width> at(n, p) const`: the terms of row n for
// packet p of the columns. It only reads: beyond the last row that one is asked for again.
template <int most, class Term>
__global__ void sum_blocks(float* partial, Term term, std::int64_t N, Columns<most> columns) {
  const std::int64_t b = std::int64_t(blockIdx.x) * blockDim.y + threadIdx.y, first = b * rows_in_block;
  const std::int64_t p = std::int64_t(blockIdx.y) * blockDim.x + threadIdx.x;
  columns.by_width([&](auto width) {
    if (first >= N || p >= columns.count / width) return;
    constexpr int at_once = width == 1 ? 8 : 4;  // loads in flight, of each array
    const int rows = N - first < rows_in_block ? static_cast<int>(N - first) : rows_in_block;
    Packet<float, width> sum{};
    for (int row = 0; row < rows; row += at_once) {
      Packet<float, width> terms[at_once];
      UNROLL
      for (int k = 0; k < at_once; ++k) terms[k] = term.template at<width>(first + smaller(row + k, rows - 1), p);
      UNROLL
      for (int k = 0; k < at_once; ++k)
        if (row + k < rows) sum = each([](float s, float t) { return s + t; }, sum, terms[k]);
    }
    store<width>(partial + b * columns.count, p, sum);
  });
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

// dw [C] f32, or null. `wide`: the arrays that the term reads allow packets of `most`. The scratch goes back to the
// device when its owner returns: a device whose stream still works on it hands it out again in the order of that stream
// only.
template <int most, class Term>
void add_sum_of_rows(const SumScratch& space, const Tensor& dw, const Term& term, bool wide, gpu::Stream stream) {
  if (!dw || !space.partial) return;
  const std::int64_t N = space.N, C = space.C;
  std::int64_t B = ceil_div(N, rows_in_block);
  float* from = space.partial.device_data<float>();
  auto columns = columns_of<most>(C, from);
  columns.wide &= wide;
  const std::int64_t packets = columns.wide ? C / most : C;
  unsigned x = 1, threads = 128;
  while (x < packets && x < threads) x *= 2;
  launch(sum_blocks<most, Term>, dim3(ceil_div(B, threads / x), ceil_div(packets, x)), dim3(x, threads / x), 0, stream,
         from, term, N, columns);
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
