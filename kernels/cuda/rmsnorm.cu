// RMS norm (kernels/rmsnorm.h). Sums in the order of base/sum.h and kernels/cpu/row_sums.h: the CPU's bits.
//
//   y = w x r,  r = (mean x² + eps)^-½,  dx = r (dy w - x r² mean(dy w x)),  dw += Σ_n dy x r
//
//   row n of x | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...     one block a row, 16 bytes a packet
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...     (kernels/cuda/reduce.h)
//   dw           64 rows a block, one thread a packet of columns, then a tree   (kernels/cuda/row_sums.h)
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
__global__ void forward(DeviceRows<T> y_rows, float* rstd, DeviceRows<T> x_rows, const T* w,
                        Columns<packet_width<T>> columns, float eps) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float square = row_sum<float>(
      Block(), columns, [&](auto width, int p) { return each([](float x) { return x * x; }, load<width>(x, p)); });
  const float r = math::rsqrt(square / float(columns.count) + eps);
  walk(Block(), columns, [&](auto width, int p) {
    const auto scaled = [&](float w, float x) { return T(w * (x * r)); };
    store<width>(y, p, each(scaled, load<width>(w, p), load<width>(x, p)));
  });
  if (threadIdx.x == 0) rstd[n] = r;
}

template <class T>
__global__ void backward_x(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> x_rows, const T* w,
                           const float* rstd, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *x = x_rows[n];
  T* dx = dx_rows[n];
  const float r = rstd[n];
  const float along = row_sum<float>(Block(), columns, [&](auto width, int p) {
    const auto product = [](float dy, float w, float x) { return dy * w * x; };
    return each(product, load<width>(dy, p), load<width>(w, p), load<width>(x, p));
  });
  const float k = r * r / float(columns.count) * along;
  walk(Block(), columns, [&](auto width, int p) {
    const auto slope = [&](float dy, float w, float x) { return T(r * (dy * w - x * k)); };
    store<width>(dx, p, each(slope, load<width>(dy, p), load<width>(w, p), load<width>(x, p)));
  });
}

template <class T>
struct ScaleGradient {
  DeviceRows<T> dy, x;
  const float* rstd;
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t p) const {
    const float r = rstd[n];
    return each([&](float dy, float x) { return dy * x * r; }, load<width>(dy[n], p), load<width>(x[n], p));
  }
};

}  // namespace

void rmsnorm_forward(const RmsnormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    const T* w = a.w.device_data<T>();
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, y, a.rstd.device_data<float>(),
           x, w, columns_of<packet_width<T>>(C, y, x, w), float(a.eps));
  });
}

void rmsnorm_backward(const RmsnormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    constexpr int most = packet_width<T>;
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    const T* w = a.w.device_data<T>();
    const float* rstd = a.rstd.device_data<float>();
    const auto columns = columns_of<most>(C, dx, dy, x, w);
    if (a.dx)
      launch(backward_x<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, dx, dy, x, w, rstd,
             columns);
    add_sum_of_rows<most>(scratch_of(a), a.dw, ScaleGradient<T>{dy, x, rstd}, columns.wide, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
