// y_nf = Σ_c x_nc w_fc (+ bias_f) with few rows n: what a step of decoding is made of. The weights are read once, 2 F C
// bytes in bf16, for 2 F C flops a row: up to some 100 rows the bytes decide, and a product on tiles of 64 or 128 rows
// would be no faster for 1 row than for 64.
//
// A warp takes 4 rows f of w and 8 rows n of x, and its lanes cut up c, 8 neighbours (16 bytes of bf16) at a time:
//
//      c ->   0..7    8..15   16..23         248..255 | 256..263
//           +-------+-------+-------+- ... -+--------+--------+
//   w_f     | lane 0| lane 1| lane 2|       | lane 31| lane 0 | ...      32 sums a lane, each a chain over its own c
//           +-------+-------+-------+- ... -+--------+--------+
//
// At the end the 32 lanes' sums are added in a tree (shuffles by 16, 8, 4, 2, 1). Which c a lane has depends on c
// alone, so a row's bits do not depend on the other rows, nor on how the loads are done.
#include "kernels/cuda/gemm_rows.h"

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/rows.h"

namespace ov::kernels::cuda {
namespace {

constexpr int warps = 4, group = 8;    // of a block; neighbours in c
constexpr int features = 4, rows = 8;  // of a warp

// 8 neighbours as f32; zeros from C on. `whole`: two or one loads of 16 bytes.
template <class T, bool whole>
__device__ void load(float (&to)[group], const T* from, int c, int C) {
  if (whole) {
    UNROLL
    for (int p = 0; p < group; p += packet_width<T>) {
      const auto packet = *reinterpret_cast<const Packet<T, packet_width<T>>*>(from + c + p);
      for (int i = 0; i < packet_width<T>; ++i) to[p + i] = float(packet.at[i]);
    }
  } else {
    for (int i = 0; i < group; ++i) to[i] = c + i < C ? float(from[c + i]) : 0.f;
  }
}

template <class T, class Y, bool whole>
__global__ void __launch_bounds__(32 * warps)
    product(DeviceRows<Y> y, DeviceRows<T> x, DeviceRows<T> w, const T* bias, std::int64_t N, std::int64_t F, int C) {
  const int lane = threadIdx.x % 32;
  const std::int64_t f0 = (std::int64_t(blockIdx.x) * warps + threadIdx.x / 32) * features;
  const std::int64_t n0 = std::int64_t(blockIdx.y) * rows;
  if (f0 >= F) return;
  const auto last_f = [&](int f) { return f0 + f < F ? f0 + f : F - 1; };
  const auto last_n = [&](int n) { return n0 + n < N ? n0 + n : N - 1; };
  float sum[features][rows] = {};
  for (int c = lane * group; c < C; c += 32 * group) {
    float of_w[features][group];
    UNROLL
    for (int f = 0; f < features; ++f) load<T, whole>(of_w[f], w[last_f(f)], c, C);
    UNROLL
    for (int n = 0; n < rows; ++n) {
      if (n0 + n >= N) break;
      float of_x[group];
      load<T, whole>(of_x, x[last_n(n)], c, C);
      UNROLL
      for (int f = 0; f < features; ++f)
        for (int i = 0; i < group; ++i) sum[f][n] = std::fma(of_x[i], of_w[f][i], sum[f][n]);
    }
  }
  UNROLL
  for (int f = 0; f < features; ++f)
    for (int n = 0; n < rows; ++n) {
      for (int step = 16; step; step /= 2) sum[f][n] += __shfl_xor_sync(0xffffffffu, sum[f][n], step);
      if (lane == 0 && f0 + f < F && n0 + n < N)
        y[n0 + n][f0 + f] = Y(bias ? sum[f][n] + float(bias[f0 + f]) : sum[f][n]);
    }
}

template <class T, class Y>
void run(const Gemm& g, cudaStream_t stream) {
  const auto [N, F] = g.c.dims<2>();
  const std::int64_t C = g.a.dims<2>()[1];
  const auto x = rows_of<T>(g.a), w = rows_of<T>(g.b);
  const bool whole = in_packets(x, C) && in_packets(w, C) && C % group == 0;
  launch(whole ? product<T, Y, true> : product<T, Y, false>, dim3(ceil_div(F, warps * features), ceil_div(N, rows)),
         dim3(32 * warps), 0, stream, rows_of<Y>(g.c), x, w, g.bias ? g.bias.device_data<T>() : nullptr, N, F, int(C));
}

}  // namespace

void gemm_of_rows(const Gemm& g, cudaStream_t stream) {
  if (g.c.numel() == 0) return;
  by_cuda_dtype(g.a.dtype(), [&](auto t) {
    using T = decltype(t);
    g.c.dtype() == g.a.dtype() ? run<T, T>(g, stream) : run<T, float>(g, stream);
  });
}

}  // namespace ov::kernels::cuda
