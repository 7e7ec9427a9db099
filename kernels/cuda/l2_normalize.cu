// Rows as directions (kernels/l2_normalize.h). Sums in the order of base/sum.h: the CPU's bits.
//
//   r = 1 / max(‖x‖, 1e-12),  y = x r,  dx = r (dy - y Σ dy y)
//
//   row n | thread 0 | thread 1 | ... | thread 255 | thread 0 | ...     one block a row (kernels/cuda/reduce.h)
//
// bf16: forward 2 + 2 bytes an element, backward 2 + 2 + 2; 3 and 5 FLOPs.
#include "kernels/l2_normalize.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
__global__ void forward(DeviceRows<T> y_rows, float* rnorm, DeviceRows<T> x_rows, std::int64_t C) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float norm = std::sqrt(row_sum<float>(C, [&](std::int64_t c) { return float(x[c]) * float(x[c]); }));
  const float r = 1 / (norm > 1e-12f ? norm : 1e-12f);
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) y[c] = T(float(x[c]) * r);
  if (threadIdx.x == 0) rnorm[n] = r;
}

template <class T>
__global__ void backward(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> y_rows, const float* rnorm,
                         std::int64_t C) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *y = y_rows[n];
  T* dx = dx_rows[n];
  const float r = rnorm[n];
  const float along = row_sum<float>(C, [&](std::int64_t c) { return float(dy[c]) * float(y[c]); });
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) dx[c] = T(r * (float(dy[c]) - float(y[c]) * along));
}

}  // namespace

void l2_normalize_forward(const L2NormalizeForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.y),
           a.rnorm.device_data<float>(), rows_of<T>(a.x), C);
  });
}

void l2_normalize_backward(const L2NormalizeBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.dy.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.dy.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    launch(backward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.dx),
           rows_of<T>(a.dy), rows_of<T>(a.y), a.rnorm.device_data<float>(), C);
  });
}

}  // namespace ov::kernels::OV_CUDA
