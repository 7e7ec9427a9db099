// Layer norm (kernels/layernorm.h). Sums in the order of base/sum.h and kernels/cpu/row_sums.h: the CPU's bits.
//
//   y = (x - m) r w + b,  dx = r (g - mean g - h mean(g h)),  g = dy w,  h = (x - m) r,  dw += Σ dy h,  db += Σ dy
//
//   row n of x | thread 0 | thread 1 | ... | thread 255 | thread 0 | ...     one block a row (kernels/cuda/reduce.h)
//   dw, db       64 rows a block, one thread a column, then a tree           (kernels/cuda/row_sums.h)
//
// bf16: forward 2 + 2 bytes an element where the row stays in the cache between its three passes; backward 2 + 2 + 2
// for dx and twice 2 for dw, db. About 8 FLOPs forward, 14 backward.
#include "kernels/layernorm.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
__global__ void forward(DeviceRows<T> y_rows, float* mean, float* rstd, DeviceRows<T> x_rows, const T* w, const T* b,
                        std::int64_t C, float eps) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float m = row_sum<float>(C, [&](std::int64_t c) { return float(x[c]); }) / float(C);
  const float square = row_sum<float>(C, [&](std::int64_t c) { return (float(x[c]) - m) * (float(x[c]) - m); });
  const float r = math::rsqrt(square / float(C) + eps);
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x)
    y[c] = T((float(x[c]) - m) * r * float(w[c]) + float(b[c]));
  if (threadIdx.x == 0) mean[n] = m, rstd[n] = r;
}

template <class T>
__global__ void backward_x(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> x_rows, const T* w,
                           const float* mean, const float* rstd, std::int64_t C) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *x = x_rows[n];
  T* dx = dx_rows[n];
  const float m = mean[n], r = rstd[n];
  const float g = row_sum<float>(C, [&](std::int64_t c) { return float(dy[c]) * float(w[c]); }) / float(C);
  const float gh =
      row_sum<float>(C, [&](std::int64_t c) { return float(dy[c]) * float(w[c]) * ((float(x[c]) - m) * r); }) /
      float(C);
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x)
    dx[c] = T(r * (float(dy[c]) * float(w[c]) - g - (float(x[c]) - m) * r * gh));
}

template <class T>
struct ScaleGradient {
  DeviceRows<T> dy, x;
  const float *mean, *rstd;
  __device__ float operator()(std::int64_t n, std::int64_t c) const {
    return float(dy[n][c]) * ((float(x[n][c]) - mean[n]) * rstd[n]);
  }
};
template <class T>
struct BiasGradient {
  DeviceRows<T> dy;
  __device__ float operator()(std::int64_t n, std::int64_t c) const { return float(dy[n][c]); }
};

}  // namespace

void layernorm_forward(const LayernormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.y),
           a.mean.device_data<float>(), a.rstd.device_data<float>(), rows_of<T>(a.x), a.w.device_data<T>(),
           a.b.device_data<T>(), C, float(a.eps));
  });
}

void layernorm_backward(const LayernormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    const float *mean = a.mean.device_data<float>(), *rstd = a.rstd.device_data<float>();
    if (a.dx)
      launch(backward_x<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.dx), dy, x,
             a.w.device_data<T>(), mean, rstd, C);
    const SumScratch space = scratch_of(a);
    add_sum_of_rows(space, a.dw, ScaleGradient<T>{dy, x, mean, rstd}, stream);
    add_sum_of_rows(space, a.db, BiasGradient<T>{dy}, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
