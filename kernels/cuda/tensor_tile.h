// Tiles of bf16 in shared memory, and the two products that attention and the expert products are made of. A warp has
// 16 rows of the result in registers, as C fragments of kernels/cuda/ptx.h: acc[n] is columns 8n .. 8n + 7.
//
//   add_dots    acc[16, 8 N] += rows of one tile · rows of another        S = Q Kᵀ      (both contiguous along the sum)
//   add_rows    acc[16, 8 M] += P [16, 16 N] in registers · rows of a tile    O = P V   (the sum runs over the rows)
//
// Within a tile of D columns, the 16 bytes number c of row r lie at place c ^ f(r): ldmatrix reads one c of 8 rows at
// once, and the f(r) of 8 neighbouring rows lead to the 8 groups of banks.
#pragma once
#include "kernels/cuda/ptx.h"

namespace ov::kernels::OV_CUDA {

// Where 16 bytes of a tile lie, in elements.
template <int D>
OV_HD constexpr int tile_at(int row, int chunk) {
  constexpr int chunks = D / 8, rows_in_line = chunks < 8 ? 8 / chunks : 1, mask = (chunks < 8 ? chunks : 8) - 1;
  static_assert(D % 16 == 0 && (chunks & (chunks - 1)) == 0, "a power of two from 16 on");
  return row * D + 8 * (chunk ^ (row / rows_in_line & mask));
}

// Starts the copies of a tile [rows, D] to `begin` by all threads of the block. source(r) is where row r lies; rows
// from n on and columns from `columns` on become zeros; n >= 1, columns a multiple of 8.
template <int rows, int D, class Shared, class Source>
__device__ void load_tile(const Shared& shared, int begin, int n, const Source& source, int columns = D) {
  constexpr int chunks = D / 8;
  for (int i = threadIdx.x; i < rows * chunks; i += blockDim.x) {
    const int row = i / chunks, chunk = i % chunks;
    const bool inside = 8 * chunk < columns;
    ptx::copy_async(&shared[begin + tile_at<D>(row, chunk)], source(row < n ? row : 0) + (inside ? 8 * chunk : 0),
                    row < n && inside);
  }
}

// acc[m][8 n ...] += Σ_d a[a_row + m][d] b[b_row + ...][d] for 16 rows of tile a and 8 N rows of tile b.
template <int D, int N, class Shared>
__device__ void add_dots(float (&acc)[N][4], const Shared& shared, int a, int a_row, int b, int b_row = 0) {
  const int lane = threadIdx.x % 32;
  UNROLL
  for (int k = 0; k < D / 16; ++k) {
    unsigned left[4];
    ptx::ldmatrix(left, &shared[a + tile_at<D>(a_row + lane % 16, 2 * k + lane / 16)]);
    UNROLL
    for (int n = 0; n < N / 2; ++n) {
      unsigned right[4];  // of two neighbouring tiles of 8 columns
      ptx::ldmatrix(right, &shared[b + tile_at<D>(b_row + 16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2)]);
      ptx::mma(acc[2 * n], left, right[0], right[1]);
      ptx::mma(acc[2 * n + 1], left, right[2], right[3]);
    }
  }
}

// acc[16, 8 M] += p [16, 16 N] · the first 16 N rows of the tile at b, its columns from 8 `chunk` on.
template <int D, int N, int M, class Shared>
__device__ void add_rows(float (&acc)[M][4], const unsigned (&p)[N][4], const Shared& shared, int b, int chunk = 0) {
  const int lane = threadIdx.x % 32;
  UNROLL
  for (int k = 0; k < N; ++k) {
    UNROLL
    for (int n = 0; n < M / 2; ++n) {
      unsigned right[4];
      ptx::ldmatrix_transposed(right, &shared[b + tile_at<D>(16 * k + lane % 16, chunk + 2 * n + lane / 16)]);
      ptx::mma(acc[2 * n], p[k], right[0], right[1]);
      ptx::mma(acc[2 * n + 1], p[k], right[2], right[3]);
    }
  }
}

// A result, rounded to bf16, as the left side of the next product.
template <int N>
__device__ void as_left(unsigned (&p)[N / 2][4], const float (&acc)[N][4]) {
  UNROLL
  for (int k = 0; k < N / 2; ++k)
    for (int half = 0; half < 2; ++half) {
      p[k][2 * half] = ptx::pack(acc[2 * k + half][0], acc[2 * k + half][1]);
      p[k][2 * half + 1] = ptx::pack(acc[2 * k + half][2], acc[2 * k + half][3]);
    }
}

}  // namespace ov::kernels::OV_CUDA
