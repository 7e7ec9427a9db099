// One product for all experts (kernels/experts.h). The rows of expert e are offsets_e .. offsets_{e+1} - 1:
//
//   of_rows      y = x w_eᵀ        rows of an expert x F, sum over C
//   to_inputs    dx = dy w_e       rows of an expert x C, sum over F
//   to_weights   dw_e += dyᵀ x     F x C, sum over the rows of an expert
//
// How many rows an expert has is known on the device alone. A small kernel lists the tiles of rows that there are, so
// the host does not wait, and an expert without rows costs nothing. No tile is shared between blocks and a sum runs in
// one block from its first term to its last, so a row's bits depend on the row and its expert.
//
// On tensor cores (bf16, F and C multiples of 8, rows at multiples of 16 bytes): a block has 128 x 128 of the result, a
// warp 16 rows of it; the sum goes 64 terms a step, two steps deep in shared memory by cp.async:
//
//                  B: 128 columns
//               +--------------------+        A, B per step: 2 x 128 x 64 bf16 = 32 KB, two stages 64 KB
//          64   |                    |        flops per byte of shared memory: 16 rows a warp, so 2 x 16 x 128 x 16
//               +--------------------+        flops for (16 + 128) x 16 x 2 bytes: 14
//     A    +--+ +--------------------+        global: 2 x 128 x 128 x 64 flops for 32 KB: 64 a byte
//   128    |  | | 16 rows of a warp  |
//   rows   |  | |--------------------|
//          +--+ +--------------------+
//
// The other kernel takes any shape, stride and type, hence single numbers: 32 x 32 of the result, 4 of them a thread.
// It has the CPU's bits: chains of 384 fused multiply-adds, added up in order (kernels/cpu/gemm.h).
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/tensor_tile.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

enum Form { of_rows, to_inputs, to_weights };

struct Tile {
  int expert, first;  // -1: no tile; the first of its rows, counted from the expert's
};

// Rows `stride` apart.
template <class T>
struct Matrix {
  T* data;
  std::int64_t stride;
  __device__ T* operator[](std::int64_t row) const { return data + row * stride; }
};
template <class T>
Matrix<T> matrix_of(const Tensor& t) {
  return {t.device_data<T>(), t.stride(0)};
}

// What both kernels know. Rows of a result: those of an expert, or F; columns: F or C.
struct Problem {
  const std::int64_t* offsets;
  const Tile* tiles;
  int F, C;
  bool accumulate;
};

// One thread an expert: it adds up the tiles of those before it.
__global__ void list_tiles(Tile* tiles, int capacity, const std::int64_t* offsets, int E, int size) {
  const int e = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (e >= E) return;
  const auto tiles_of = [&](int i) { return int((offsets[i + 1] - offsets[i] + size - 1) / size); };
  int before = 0, after = 0;
  for (int i = 0; i < e; ++i) before += tiles_of(i);
  const int mine = tiles_of(e);
  for (int i = 0; i < mine; ++i) tiles[before + i] = {e, i * size};
  for (int i = e + 1; i < E; ++i) after += tiles_of(i);
  for (int i = before + mine + after + e; i < capacity; i += E) tiles[i] = {-1, 0};
}

// A block's part: which expert, its rows, and where the tile begins. blockIdx.x is a tile of rows of the list, or
// (expert, tile of F); blockIdx.y a tile of columns.
template <int form>
struct Part {
  int expert, m0, n0, M, N, K;
  std::int64_t begin;  // the expert's first row

  __device__ Part(const Problem& p, int rows, int columns) {
    const int tiles_of_F = (p.F + rows - 1) / rows;
    expert = form == to_weights ? int(blockIdx.x) / tiles_of_F : p.tiles[blockIdx.x].expert;
    m0 = form == to_weights ? int(blockIdx.x) % tiles_of_F * rows : p.tiles[blockIdx.x].first;
    n0 = int(blockIdx.y) * columns;
    if (expert < 0) return;
    begin = p.offsets[expert];
    const int count = int(p.offsets[expert + 1] - begin);
    M = form == to_weights ? p.F : count;
    N = form == of_rows ? p.F : p.C;
    K = form == of_rows ? p.C : form == to_inputs ? p.F : count;
  }
  // Rows of the arrays: the m-th row of the result, the k-th row of what is summed over.
  __device__ std::int64_t result(int m) const { return form == to_weights ? std::int64_t(expert) * M + m : begin + m; }
  __device__ std::int64_t weight(int f, int F) const { return std::int64_t(expert) * F + f; }
};

template <int form, class T, class C>
__global__ void __launch_bounds__(256, 2) plain(Matrix<C> c, Matrix<T> a, Matrix<T> b, Problem p) {
  constexpr int side = plain_grouped_tile, chain = 384;
  static_assert(chain % side == 0);
  SHARED(float, of_a, side, side + 1);  // [m][k], a column more so that a column lies in different banks
  SHARED(float, of_b, side, side + 1);  // [k][n]
  const Part<form> part(p, side, side);
  if (part.expert < 0) return;
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  float total[2][2], sum[2][2] = {};
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      const int m = part.m0 + y + 16 * i, n = part.n0 + x + 16 * j;
      total[i][j] = p.accumulate && m < part.M && n < part.N ? float(c[part.result(m)][n]) : 0.f;
    }
  bool first = !p.accumulate;  // the first chain is not added to anything
  for (int k0 = 0; k0 < part.K; k0 += side) {
    for (int i = threadIdx.x; i < side * side; i += 256) {
      const int row = i / side, column = i % side;  // `column` runs along memory
      const int am = form == to_weights ? column : row, ak = form == to_weights ? row : column;
      const int bn = form == of_rows ? row : column, bk = form == of_rows ? column : row;
      const int m = part.m0 + am, n = part.n0 + bn, ka = k0 + ak, kb = k0 + bk;
      of_a[am][ak] = m >= part.M || ka >= part.K ? 0.f
                     : form == to_weights        ? float(a[part.begin + ka][m])
                                                 : float(a[part.begin + m][ka]);
      of_b[bk][bn] = n >= part.N || kb >= part.K ? 0.f
                     : form == of_rows           ? float(b[part.weight(n, p.F)][kb])
                     : form == to_inputs         ? float(b[part.weight(kb, p.F)][n])
                                                 : float(b[part.begin + kb][n]);
    }
    __syncthreads();
    const int terms = part.K - k0 < side ? part.K - k0 : side;
    for (int k = 0; k < terms; ++k)
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) sum[i][j] = std::fma(of_a[y + 16 * i][k], of_b[k][x + 16 * j], sum[i][j]);
    __syncthreads();
    if ((k0 + side) % chain != 0 && k0 + side < part.K) continue;
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) total[i][j] = first ? sum[i][j] : total[i][j] + sum[i][j], sum[i][j] = 0;
    first = false;
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      const int m = part.m0 + y + 16 * i, n = part.n0 + x + 16 * j;
      if (m < part.M && n < part.N) c[part.result(m)][n] = C(total[i][j]);
    }
}

constexpr int tile = grouped_tile, step = 64, tile_threads = 256;

template <int form, class C>
__global__ void __launch_bounds__(tile_threads)
    on_tensor_cores(Matrix<C> c, Matrix<Bf16> a, Matrix<Bf16> b, Problem p) {
  const Part<form> part(p, tile, tile);
  if (part.expert < 0) return;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  DYN_SHARED(Bf16, shared);  // two stages of A, then B
  const auto stage = [](int turn) { return turn % 2 * 2 * tile * step; };
  const auto load = [&](int turn) {
    const int k0 = turn * step, of_a = stage(turn), of_b = of_a + tile * step;
    const int m = smaller(tile, part.M - part.m0), n = smaller(tile, part.N - part.n0), k = smaller(step, part.K - k0);
    if (form == to_weights)
      load_tile<step, tile>(
          shared, of_a, k, [&](int r) { return a[part.begin + k0 + r] + part.m0; }, m);
    else
      load_tile<tile, step>(
          shared, of_a, m, [&](int r) { return a[part.begin + part.m0 + r] + k0; }, k);
    if (form == of_rows)
      load_tile<tile, step>(
          shared, of_b, n, [&](int r) { return b[part.weight(part.n0 + r, p.F)] + k0; }, k);
    else
      load_tile<step, tile>(
          shared, of_b, k,
          [&](int r) { return b[form == to_inputs ? part.weight(k0 + r, p.F) : part.begin + k0 + r] + part.n0; }, n);
  };

  float sum[tile / 8][4] = {};
  if (part.K > 0) load(0);
  ptx::copy_async_commit();
  for (int turn = 0; turn * step < part.K; ++turn) {
    if ((turn + 1) * step < part.K) load(turn + 1);
    ptx::copy_async_commit();
    ptx::copy_async_wait<1>();
    __syncthreads();
    const int of_a = stage(turn), of_b = of_a + tile * step;
    UNROLL
    for (int k = 0; k < step / 16; ++k) {
      unsigned left[4];  // 16 rows of this warp, 16 terms
      if (form == to_weights)
        ptx::ldmatrix_transposed(
            left, &shared[of_a + tile_at<tile>(16 * k + lane % 8 + lane / 16 * 8, 2 * warp + lane / 8 % 2)]);
      else ptx::ldmatrix(left, &shared[of_a + tile_at<step>(16 * warp + lane % 16, 2 * k + lane / 16)]);
      UNROLL
      for (int n = 0; n < tile / 16; ++n) {
        unsigned right[4];
        if (form == of_rows)
          ptx::ldmatrix(right, &shared[of_b + tile_at<step>(16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2)]);
        else ptx::ldmatrix_transposed(right, &shared[of_b + tile_at<tile>(16 * k + lane % 16, 2 * n + lane / 16)]);
        ptx::mma(sum[2 * n], left, right[0], right[1]);
        ptx::mma(sum[2 * n + 1], left, right[2], right[3]);
      }
    }
    __syncthreads();  // before the next turn overwrites this stage
  }
  UNROLL
  for (int n = 0; n < tile / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const int row = part.m0 + 16 * warp + lane / 4 + e / 2 * 8, column = part.n0 + 8 * n + lane % 4 * 2 + e % 2;
      if (row >= part.M || column >= part.N) continue;
      C& to = c[part.result(row)][column];
      to = C(p.accumulate ? float(to) + sum[n][e] : sum[n][e]);
    }
}

// Calls f with the form as a constant.
template <class F>
void by_form(const GroupedGemm& g, F&& f) {
  if (g.trans_a) f(std::integral_constant<int, to_weights>{});
  else if (g.trans_b) f(std::integral_constant<int, of_rows>{});
  else f(std::integral_constant<int, to_inputs>{});
}

}  // namespace

void grouped_gemm(const GroupedGemm& g, gpu::Stream stream) {
  const GroupedScratch space = scratch_of(g);
  if (!space.tiles) return;
  const int E = int(space.E), F = int(space.F), C = int(space.C), size = space.size;
  Tile* const tiles = reinterpret_cast<Tile*>(space.tiles.device_data<std::int32_t>());
  const Problem problem{g.offsets.device_data<std::int64_t>(), tiles, F, C, g.accumulate};
  if (!g.trans_a)
    launch(list_tiles, dim3(ceil_div(E, 128)), dim3(128), 0, stream, tiles, space.count, problem.offsets, E, size);
  const dim3 grid(g.trans_a ? unsigned(E) * ceil_div(F, size) : unsigned(space.count),
                  ceil_div(g.trans_b ? F : C, size));
  by_form(g, [&](auto form) {
    by_cuda_dtype(g.a.dtype(), [&](auto t) {
      const auto with = [&](auto c) {
        using T = decltype(t);
        using Y = decltype(c);
        if constexpr (std::is_same_v<T, Bf16>)
          if (space.tensor_cores)
            return launch(on_tensor_cores<form.value, Y>, grid, dim3(tile_threads), 4 * tile * step * sizeof(T), stream,
                          matrix_of<Y>(g.c), matrix_of<T>(g.a), matrix_of<T>(g.b), problem);
        launch(plain<form.value, T, Y>, grid, dim3(256), 0, stream, matrix_of<Y>(g.c), matrix_of<T>(g.a),
               matrix_of<T>(g.b), problem);
      };
      g.c.dtype() == g.a.dtype() ? with(t) : with(float{});
    });
  });
}

}  // namespace ov::kernels::OV_CUDA
