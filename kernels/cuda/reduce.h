// Sums within a block. A row's sum has the bits of base/sum.h, so that f32 on a GPU and on the CPU compare exactly.
#pragma once
#include "kernels/cuda/rows.h"

namespace ov::kernels::OV_CUDA {

constexpr int sum_lanes = 16;  // as in base/sum.h
constexpr int max_row_threads = 256;
constexpr int terms_per_thread = 8;  // that a thread fetches at once

// Who works on a row together: all threads of a block,
struct Block {
  static constexpr int rows = 1, most_threads = max_row_threads;  // a block has so many rows, and a row so many threads
  __device__ int row() const { return 0; }
  __device__ int thread() const { return threadIdx.x; }
  __device__ int threads() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};
// or, on rows of one or two hundred, 16 lanes of a warp: 16 rows a block of 256 threads.
struct HalfWarp {
  static constexpr int rows = max_row_threads / sum_lanes, most_threads = sum_lanes;
  __device__ int row() const { return threadIdx.x / sum_lanes; }
  __device__ int thread() const { return threadIdx.x % sum_lanes; }
  __device__ int threads() const { return sum_lanes; }
  __device__ void sync() const { __syncwarp(0xffffu << (threadIdx.x & sum_lanes)); }
};

// Threads of a block that works on one row of n elements: terms_per_thread each as far as it goes, whole warps.
inline unsigned row_threads(std::int64_t n) {
  return std::clamp(ceil_div(n, 32 * terms_per_thread) * 32, 32u, unsigned(max_row_threads));
}

// f(width, p) for every packet p of a row, each by one thread of the team.
template <class Team, int most, class F>
__device__ void walk(const Team& team, Columns<most> columns, F f) {
  columns.by_width([&](auto width) {
    ROLLED
    for (int p = team.thread(); p < columns.count / width; p += team.threads()) f(width, p);
  });
}

// Where term i of a tile stands. A thread writes 8 neighbours, two units of 16 bytes, and units go to memory 8 threads
// at a time, the first ones and then the second ones:
//
//   thread     0     1     2     3     4     5     6     7        banks are 8 units wide: without a change threads
//   unit      0 1   2 3   4 5   6 7   8 9  10 11 12 13 14 15      0 and 4, 1 and 5 ... would meet in one. So unit u
//   bank of it 0 1  2 3   4 5   6 7   1 0   3 2   5 4   7 6       stands at u xor (u / 8 mod 4), which also serves
//                                                                 4 units a thread, and 1
//
// The 16 lanes read 4 units of f32 or 8 of f64 that are neighbours, in any order: those share no bank either.
template <class A>
__device__ int slot(int i) {
  constexpr unsigned unit = 16 / sizeof(A);
  const auto u = static_cast<unsigned>(i);
  return static_cast<int>(u ^ (u / (8 * unit) % 4 * unit));
}

// Σ_{i<n} term i of a row of n = columns.count >= 1, called by all threads of its team; all get it. terms(width, p) is
// packet p of the terms, A each; it only reads, since beyond the row's end the last packet is asked for again.
//
// base/sum.h adds term i to lane i mod 16 and then the lanes in a tree. Here all threads fetch packets, coalesced, into
// a tile of shared memory, and 16 of them add the tile up, each its own lane in order. The adds are short work next to
// the fetch: a lane does one add for 16 elements, and other blocks of the multiprocessor fetch meanwhile.
template <class A, class Team, int most, class F>
__device__ A row_sum(const Team& team, Columns<most> columns, F terms) {
  constexpr int apart = sum_lanes;  // banks between two rows of a warp
  SHARED(A, tiles, Team::rows, Team::most_threads * terms_per_thread + apart);
  auto&& tile = tiles[team.row()];
  const int thread = team.thread(), threads = team.threads(), tile_size = threads * terms_per_thread;
  const int n = columns.count;
  A lane = 0;
  for (int begin = 0; begin < n; begin += tile_size) {
    columns.by_width([&](auto width) {
      constexpr int packets = terms_per_thread / width, unit = width == 1 ? 1 : 16 / sizeof(A);
      Packet<A, width> fetched[packets];
      UNROLL
      for (int k = 0; k < packets; ++k) {
        const int p = begin / width + k * threads + thread;
        fetched[k] = terms(width, smaller(p, n / width - 1));
      }
      UNROLL
      for (int j = 0; j < packets * width; j += unit) {
        Packet<A, unit> part;
        UNROLL
        for (int i = 0; i < unit; ++i) part.at[i] = fetched[j / width].at[j % width + i];
        store<unit>(&tile[slot<A>((j / width * threads + thread) * width + j % width)], 0, part);
      }
    });
    team.sync();
    const int count = smaller(n - begin, tile_size);
    if (thread < sum_lanes)
      for (int i = thread; i < count; i += sum_lanes) lane += tile[slot<A>(i)];
    team.sync();
  }
  if (thread < sum_lanes) {
    const unsigned mask = 0xffffu << (threadIdx.x & sum_lanes);
    for (int step = sum_lanes / 2; step; step /= 2) lane += __shfl_down_sync(mask, lane, step, sum_lanes);
    if (thread == 0) tile[0] = lane;
  }
  team.sync();
  const A total = tile[0];
  team.sync();  // the next call writes the tile
  return total;
}
// Of n terms one by one, for what is short or done once: term(i).
template <class A, class F>
__device__ A row_sum(std::int64_t n, F term) {
  return row_sum<A>(Block(), Columns<1>{static_cast<int>(n), false},
                    [&](auto, int i) { return Packet<A, 1>{{A(term(i))}}; });
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
