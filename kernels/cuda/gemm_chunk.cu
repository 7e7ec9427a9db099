// y_nf = Σ_c x_nc w_fc (+ bias_f) in bf16 for any number of rows n, a token of every answer and a chunk of prompts:
// a row's bits depend on the row and on w alone, for the sum over c runs in one warp, from its first term to its last,
// 16 a tensor-core instruction.
//
// The weights are the left side, for tokens are few: an instruction has 16 rows of w and 8 of x, so that one token
// wastes 7 columns and not 15 rows. A block has 64 features and 32 tokens, 64 columns a step:
//
//                x: 32 tokens
//              +------------+         step: 64 x 64 of w and 32 x 64 of x in bf16, 12 KB by cp.async; four of them
//         64   |            |         under way keep 36 KB a block in flight, which is what one token needs: 2 F C
//              +------------+         bytes for 2 F C flops
//     w  +--+  +------------+
//   64   |  |  | warp 0     | 16      n tokens: w comes ceil(n / 32) times, all but the first from the second cache,
//   rows |  |  | ...        |         2 x 64 x 32 x 64 flops for 12 KB: 21 a byte
//        +--+  | warp 3     |
//              +------------+
#include "kernels/cuda/gemm_rows.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/tensor_tile.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int features = 64, tokens = 32, step = 64, stages = 4, warps = features / 16;
constexpr int of_x = features * step, stage = (features + tokens) * step;  // elements: where x begins, a whole stage

template <class Y>
__global__ void __launch_bounds__(32 * warps)
    chunk_product(Y* y, std::int64_t y_stride, const Bf16* x, std::int64_t x_stride, const Bf16* w,
                  std::int64_t w_stride, const Bf16* bias, int N, int F, int C) {
  DYN_SHARED(Bf16, shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int f0 = int(blockIdx.x) * features, n0 = int(blockIdx.y) * tokens, turns = (C + step - 1) / step;
  const auto load = [&](int turn) {
    const int at = turn % stages * stage, c0 = turn * step, columns = smaller(step, C - c0);
    load_tile<features, step>(
        shared, at, smaller(features, F - f0), [&](int r) { return w + (f0 + r) * w_stride + c0; }, columns);
    load_tile<tokens, step>(
        shared, at + of_x, smaller(tokens, N - n0), [&](int r) { return x + (n0 + r) * x_stride + c0; }, columns);
  };
  for (int turn = 0; turn < stages - 1; ++turn) {
    if (turn < turns) load(turn);
    ptx::copy_async_commit();
  }
  float sum[tokens / 8][4] = {};
  for (int turn = 0; turn < turns; ++turn) {
    ptx::copy_async_wait<stages - 2>();
    __syncthreads();  // this step is there for all, and all are done with the one before
    if (turn + stages - 1 < turns) load(turn + stages - 1);
    ptx::copy_async_commit();
    const int at = turn % stages * stage;
    add_dots<step>(sum, shared, at, 16 * warp, at + of_x);
  }
  UNROLL
  for (int n = 0; n < tokens / 8; ++n)
    for (int e = 0; e < 4; ++e) {
      const int f = f0 + 16 * warp + lane / 4 + e / 2 * 8, t = n0 + 8 * n + lane % 4 * 2 + e % 2;
      if (f < F && t < N) y[t * y_stride + f] = Y(bias ? sum[n][e] + float(bias[f]) : sum[n][e]);
    }
}

template <class Y>
void run(const Gemm& g, gpu::Stream stream) {
  const auto [N, F] = g.c.dims<2>();
  launch(chunk_product<Y>, dim3(ceil_div(F, features), ceil_div(N, tokens)), dim3(32 * warps),
         stages * stage * sizeof(Bf16), stream, g.c.device_data<Y>(), g.c.row_stride(), g.a.device_data<Bf16>(),
         g.a.row_stride(), g.b.device_data<Bf16>(), g.b.row_stride(), g.bias ? g.bias.device_data<Bf16>() : nullptr,
         int(N), int(F), int(g.a.dims<2>()[1]));
}

}  // namespace

void gemm_of_chunk(const Gemm& g, gpu::Stream stream) {
  const auto in_packets = [](const Tensor& t) {
    return reinterpret_cast<std::uintptr_t>(t.device_bytes()) % 16 == 0 && t.row_stride() >= 0 &&
           t.row_stride() % 8 == 0;
  };
  const bool fits = g.a.dtype() == Dtype::bf16 && g.a.dims<2>()[1] % 8 == 0 && in_packets(g.a) && in_packets(g.b);
  if (!fits || g.c.row_stride() < 0 || g.c.numel() == 0) return gemm_of_rows(g, stream);
  g.c.dtype() == Dtype::bf16 ? run<Bf16>(g, stream) : run<float>(g, stream);
}

}  // namespace ov::kernels::OV_CUDA
