// Sums within a block. A row's sum has the bits of base/sum.h, so that f32 on a GPU and on the CPU compare exactly.
#pragma once
#include "kernels/cuda/rows.h"

namespace ov::kernels::OV_CUDA {

constexpr int sum_lanes = 16;        // as in base/sum.h
constexpr int terms_per_thread = 8;  // loads that a thread has in flight at once
constexpr int max_row_threads = 256;

// Threads of a block that works on one row of n elements: terms_per_thread each as far as it goes, whole warps.
inline unsigned row_threads(std::int64_t n) {
  return std::clamp(ceil_div(n, 32 * terms_per_thread) * 32, 32u, unsigned(max_row_threads));
}

// Σ_{i<n} term(i), called by all threads of the block; all get it. n >= 1.
//
// base/sum.h adds term i to lane i mod 16 and then the lanes in a tree. Here all threads fetch terms, coalesced, into a
// tile of shared memory, and 16 of them add the tile up, each its own lane in order. The adds are short work next to
// the fetch: a lane does one add for 16 elements, and other blocks of the multiprocessor fetch meanwhile.
template <class A, class F>
__device__ A row_sum(std::int64_t n, F term) {
  SHARED(A, tile, max_row_threads * terms_per_thread);
  const int thread = threadIdx.x, threads = blockDim.x, tile_size = threads * terms_per_thread;
  A lane = 0;
  for (std::int64_t begin = 0; begin < n; begin += tile_size) {
    A terms[terms_per_thread];
    for (int k = 0; k < terms_per_thread; ++k) {
      const std::int64_t i = begin + k * threads + thread;
      terms[k] = i < n ? A(term(i)) : A(0);
    }
    for (int k = 0; k < terms_per_thread; ++k) tile[k * threads + thread] = terms[k];
    __syncthreads();
    const int count = n - begin < tile_size ? static_cast<int>(n - begin) : tile_size;
    if (thread < sum_lanes)
      for (int i = thread; i < count; i += sum_lanes) lane += tile[i];
    __syncthreads();
  }
  if (thread < sum_lanes) {
    for (int step = sum_lanes / 2; step; step /= 2) lane += __shfl_down_sync(0xffffu, lane, step, sum_lanes);
    if (thread == 0) tile[0] = lane;
  }
  __syncthreads();
  const A total = tile[0];
  __syncthreads();  // the next call writes the tile
  return total;
}

// The largest value of the block's threads; all get it. The order does not matter, since max rounds nothing.
template <class A>
__device__ A block_max(A value) {
  SHARED(A, of_warp, 32);
  const int thread = threadIdx.x, warps = blockDim.x / 32;
  for (int step = 16; step; step /= 2) {
    const A other = __shfl_xor_sync(0xffffffffu, value, step);
    value = other > value ? other : value;
  }
  if (thread % 32 == 0) of_warp[thread / 32] = value;
  __syncthreads();
  for (int w = 0; w < warps; ++w) value = of_warp[w] > value ? of_warp[w] : value;
  __syncthreads();
  return value;
}

// Σ over the block's threads of a whole number; all get it. Integers add up to the same in any order.
__device__ inline std::int64_t block_count(std::int64_t value) {
  SHARED(std::int64_t, of_warp, 32);
  const int thread = threadIdx.x, warps = blockDim.x / 32;
  for (int step = 16; step; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  if (thread % 32 == 0) of_warp[thread / 32] = value;
  __syncthreads();
  value = 0;
  for (int w = 0; w < warps; ++w) value += of_warp[w];
  __syncthreads();
  return value;
}

// Σ_{i<n} term(i) with the bits of base/sum.h, called by all lanes of a warp; all get it. For short sums, whose terms
// lie in shared memory or the cache: lane l < 16 adds terms l, l + 16, ...
template <class A = float, class F>
__device__ A warp_sum(std::int64_t n, int lane, F term) {
  A sum = 0;
  if (lane < sum_lanes)
    for (std::int64_t i = lane; i < n; i += sum_lanes) sum += term(i);
  for (int step = sum_lanes / 2; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step, sum_lanes);
  return __shfl_sync(0xffffffffu, sum, 0);
}

}  // namespace ov::kernels::OV_CUDA
