// RMS norm (kernels/rmsnorm.h). Sums in the order of base/sum.h and kernels/cpu/row_sums.h: the CPU's bits.
//
//   y = w x r,  r = (mean x² + eps)^-½,  dx = r (dy w - x r² mean(dy w x)),  dw += Σ_n dy x r
//
//   row n of x | thread 0 | thread 1 | ... | thread 255 | thread 0 | ...     one block a row (kernels/cuda/reduce.h)
//   dw           64 rows a block, one thread a column, then a tree           (kernels/cuda/row_sums.h)
//
// bf16: forward 2 + 2 bytes an element where the row stays in the cache between its two passes; backward 2 + 2 + 2 for
// dx and 2 + 2 for dw. 4 FLOPs forward, 9 backward.
#include "kernels/rmsnorm.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

// One block a row.
template <class T>
__global__ void forward(DeviceRows<T> y_rows, float* rstd, DeviceRows<T> x_rows, const T* w, std::int64_t C,
                        float eps) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float square = row_sum<float>(C, [&](std::int64_t c) { return float(x[c]) * float(x[c]); });
  const float r = math::rsqrt(square / float(C) + eps);
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) y[c] = T(float(w[c]) * (float(x[c]) * r));
  if (threadIdx.x == 0) rstd[n] = r;
}

template <class T>
__global__ void backward_x(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> x_rows, const T* w,
                           const float* rstd, std::int64_t C) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *x = x_rows[n];
  T* dx = dx_rows[n];
  const float r = rstd[n];
  const float k =
      r * r / float(C) * row_sum<float>(C, [&](std::int64_t c) { return float(dy[c]) * float(w[c]) * float(x[c]); });
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x)
    dx[c] = T(r * (float(dy[c]) * float(w[c]) - float(x[c]) * k));
}

template <class T>
struct ScaleGradient {
  DeviceRows<T> dy, x;
  const float* rstd;
  __device__ float operator()(std::int64_t n, std::int64_t c) const {
    return float(dy[n][c]) * float(x[n][c]) * rstd[n];
  }
};

}  // namespace

void rmsnorm_forward(const RmsnormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.y),
           a.rstd.device_data<float>(), rows_of<T>(a.x), a.w.device_data<T>(), C, float(a.eps));
  });
}

void rmsnorm_backward(const RmsnormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    const float* rstd = a.rstd.device_data<float>();
    if (a.dx)
      launch(backward_x<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.dx), dy, x,
             a.w.device_data<T>(), rstd, C);
    add_sum_of_rows(scratch_of(a), a.dw, ScaleGradient<T>{dy, x, rstd}, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
