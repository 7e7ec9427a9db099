// y_nf = Σ_c x_nc w_fc (+ bias_f) with few rows n: what a step of decoding is made of. The weights are read once, 2 F C
// bytes in bf16, for 2 F C flops a row: up to some 100 rows the bytes decide, and a product on tiles of 64 or 128 rows
// would be no faster for 1 row than for 64.
//
// The order of a sum is the CPU's (kernels/cpu/gemm.h), so that f32 and bf16 have its bits: chains of 384 fused
// multiply-adds, added up in order. The chains of one y_nf can be computed side by side, so a block has 32 rows of w
// and 8 rows of x, a warp one chain of all of them, and a lane one row of w:
//
//      c ->       0 .. 383    384 .. 767   768 ..            8 warps: the first 8 chains, then the next 8, ...
//               +-----------+------------+----- -+
//   w_f     32  |  warp 0   |   warp 1   |  ...  |           a lane: sums of its f with each of the 8 rows of x
//         lanes |           |            |       |
//               +-----------+------------+----- -+
//                 part[0]      part[1]     ...              y_nf = ((part[0] + part[1]) + part[2]) ...
//
// A lane walks along a row of w, which in memory would be 32 places far apart. So a warp first brings 64 columns of its
// 32 rows to shared memory, 16 bytes a lane and neighbours together; chunk k of row f lies at place k ^ (f mod 8), so
// that lanes which read one column of 8 rows meet 8 groups of banks.
#include "kernels/cuda/gemm_rows.h"

#include "kernels/cuda/ptx.h"
#include "kernels/cuda/rows.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int chain = 384, piece = 64;                 // columns of one sum, of one visit to shared memory
constexpr int warps = 8, features = 32, rows = warps;  // of a block; a warp adds up the chains of one row of x
static_assert(chain % piece == 0);

// packet_width neighbours from column c on, zeros from C on. `whole`: by one load of 16 bytes.
template <class T, bool whole>
__device__ Packet<T, packet_width<T>> columns_of(const T* row, int c, int C) {
  if (whole && c < C) return *reinterpret_cast<const Packet<T, packet_width<T>>*>(row + c);
  Packet<T, packet_width<T>> p;
  for (int i = 0; i < packet_width<T>; ++i) p.at[i] = !whole && c + i < C ? row[c + i] : T(0.f);
  return p;
}

template <class T, class Y, bool whole>
__global__ void __launch_bounds__(32 * warps, 2)
    product(Y* y, std::int64_t y_stride, const T* x, std::int64_t x_stride, const T* w, std::int64_t w_stride,
            const T* bias, int N, int F, int C) {
  using P = Packet<T, packet_width<T>>;
  constexpr int width = packet_width<T>, chunks = piece / width;
  SHARED(float, part, warps, rows, features);
  DYN_SHARED(T, shared);  // [32, 64] of w for each warp
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int f0 = int(blockIdx.x) * features, n0 = int(blockIdx.y) * rows, here = smaller(rows, N - n0);
  const auto at = [&](int f, int chunk) -> P& {
    return *reinterpret_cast<P*>(&shared[(warp * features + f) * piece + width * (chunk ^ (f & 7))]);
  };
  float total = 0;  // of row n0 + warp and feature f0 + lane
  for (int first = 0; first < C; first += warps * chain) {
    const int begin = first + warp * chain, end = smaller(begin + chain, C);
    float sum[rows] = {};
    for (int c0 = begin; c0 < end; c0 += piece) {
      for (int i = lane; i < features * chunks; i += 32) {
        const int f = i / chunks, chunk = i % chunks;
        at(f, chunk) = columns_of<T, whole>(w + smaller(f0 + f, F - 1) * w_stride, c0 + chunk * width, C);
      }
      __syncwarp();
      UNROLL
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const P of_w = at(lane, chunk);
        UNROLL
        for (int n = 0; n < rows; ++n) {
          if (n >= here) break;
          const P of_x = columns_of<T, whole>(x + (n0 + n) * x_stride, c0 + chunk * width, C);
          for (int i = 0; i < width; ++i) sum[n] = std::fma(float(of_x.at[i]), float(of_w.at[i]), sum[n]);
        }
      }
      __syncwarp();  // before the next piece overwrites this one
    }
    for (int n = 0; n < rows; ++n) part[warp][n][lane] = sum[n];
    __syncthreads();
    for (int k = 0; k < warps && first + k * chain < C; ++k)
      total = first + k == 0 ? part[0][warp][lane] : total + part[k][warp][lane];
    __syncthreads();
  }
  if (warp >= here || f0 + lane >= F) return;
  y[(n0 + warp) * y_stride + f0 + lane] = Y(bias ? total + float(bias[f0 + lane]) : total);
}

template <class T, class Y>
void run(const Gemm& g, gpu::Stream stream) {
  const auto [N, F] = g.c.dims<2>();
  const std::int64_t C = g.a.dims<2>()[1];
  const auto in_packets = [&](const Tensor& t) {
    return reinterpret_cast<std::uintptr_t>(t.device_bytes()) % 16 == 0 && t.row_stride() % packet_width<T> == 0;
  };
  const bool whole = in_packets(g.a) && in_packets(g.b) && C % packet_width<T> == 0;
  launch(whole ? product<T, Y, true> : product<T, Y, false>, dim3(ceil_div(F, features), ceil_div(N, rows)),
         dim3(32 * warps), warps * features * piece * sizeof(T), stream, g.c.device_data<Y>(), g.c.row_stride(),
         g.a.device_data<T>(), g.a.row_stride(), g.b.device_data<T>(), g.b.row_stride(),
         g.bias ? g.bias.device_data<T>() : nullptr, int(N), int(F), int(C));
}

}  // namespace

void gemm_of_rows(const Gemm& g, gpu::Stream stream) {
  for (const Tensor* t : {&g.c, &g.a, &g.b})
    if (t->row_stride() < 0)
      input_error("gemm: the rows of a tensor ", t->shape().str(), " are not equally far apart; copy it first");
  if (g.c.numel() == 0) return;
  by_cuda_dtype(g.a.dtype(), [&](auto t) {
    using T = decltype(t);
    g.c.dtype() == g.a.dtype() ? run<T, T>(g, stream) : run<T, float>(g, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
