// A residual sum and the RMS norm that reads it (kernels/add_rmsnorm.h), with the CPU's bits (base/sum.h).
//
//   h = a + b,  y = w h r,  r = (mean h² + eps)^-½;  dx = dh + r (dy w - h r² mean(dy w h))
//
//   row n | thread 0 | thread 1 | ... | thread 255 | thread 0 | ...     one block a row (kernels/cuda/reduce.h)
//
// A thread meets the same elements in the sum over the row and after it: what it wrote to h it reads again itself.
// bf16: forward 2 + 2 + 2 + 2 bytes an element, where add and rmsnorm move 12; backward 2 + 2 + 2 or 4 for dh + 4 for
// dx, which is f32 as sums of gradients are. 5 FLOPs forward, 6 backward; dw is rmsnorm's.
#include "kernels/add_rmsnorm.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

// One block a row.
template <class T>
__global__ void add_forward(DeviceRows<T> h_rows, DeviceRows<T> y_rows, float* rstd, DeviceRows<T> a_rows,
                            DeviceRows<T> b_rows, const T* w, std::int64_t C, float eps) {
  const std::int64_t n = blockIdx.x;
  const T *a = a_rows[n], *b = b_rows[n];
  T *h = h_rows[n], *y = y_rows[n];
  const float square = row_sum<float>(C, [&](std::int64_t c) {
    const T sum = T(float(a[c]) + float(b[c]));
    h[c] = sum;
    return float(sum) * float(sum);
  });
  const float r = math::rsqrt(square / float(C) + eps);
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x) y[c] = T(float(w[c]) * (float(h[c]) * r));
  if (threadIdx.x == 0) rstd[n] = r;
}

template <class T, class Dh>
__global__ void add_backward(DeviceRows<float> dx_rows, DeviceRows<Dh> dh_rows, DeviceRows<T> dy_rows,
                             DeviceRows<T> h_rows, const T* w, const float* rstd, std::int64_t C) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *h = h_rows[n];
  const Dh* dh = dh_rows[n];
  float* dx = dx_rows[n];
  const float r = rstd[n];
  const float k =
      r * r / float(C) * row_sum<float>(C, [&](std::int64_t c) { return float(dy[c]) * float(w[c]) * float(h[c]); });
  for (std::int64_t c = threadIdx.x; c < C; c += blockDim.x)
    dx[c] = float(dh[c]) + float(T(r * (float(dy[c]) * float(w[c]) - float(h[c]) * k)));
}

template <class T, class Dh>
void run_backward(const AddRmsnormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.h.dims<2>();
  launch(add_backward<T, Dh>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<float>(a.dx),
         rows_of<Dh>(a.dh), rows_of<T>(a.dy), rows_of<T>(a.h), a.w.device_data<T>(), a.rstd.device_data<float>(), C);
}

}  // namespace

void add_rmsnorm_forward(const AddRmsnormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.a.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.a.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    launch(add_forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows_of<T>(a.h),
           rows_of<T>(a.y), a.rstd.device_data<float>(), rows_of<T>(a.a), rows_of<T>(a.b), a.w.device_data<T>(), C,
           float(a.eps));
  });
}

void add_rmsnorm_backward(const AddRmsnormBackward& a, gpu::Stream stream) {
  if (a.h.numel() == 0) return;
  by_cuda_dtype(a.h.dtype(), [&](auto t) {
    using T = decltype(t);
    a.dh.dtype() == Dtype::f32 ? run_backward<T, float>(a, stream) : run_backward<T, T>(a, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
