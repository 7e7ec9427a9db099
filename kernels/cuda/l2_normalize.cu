// Rows as directions (kernels/l2_normalize.h). Sums in the order of base/sum.h: the CPU's bits.
//
//   r = 1 / max(‖x‖, 1e-12),  y = x r,  dx = r (dy - y Σ dy y)
//
//   row n of x | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...     one block a row, 16 bytes a packet
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...     (kernels/cuda/reduce.h)
//
// bf16: forward 2 + 2 bytes an element, backward 2 + 2 + 2; 3 and 5 FLOPs.
#include "kernels/l2_normalize.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
__global__ void forward(DeviceRows<T> y_rows, float* rnorm, DeviceRows<T> x_rows, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float norm = std::sqrt(row_sum<float>(
      Block(), columns, [&](auto width, int p) { return each([](float x) { return x * x; }, load<width>(x, p)); }));
  const float r = 1 / (norm > 1e-12f ? norm : 1e-12f);
  walk(Block(), columns,
       [&](auto width, int p) { store<width>(y, p, each([&](float x) { return T(x * r); }, load<width>(x, p))); });
  if (threadIdx.x == 0) rnorm[n] = r;
}

template <class T>
__global__ void backward(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> y_rows, const float* rnorm,
                         Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *y = y_rows[n];
  T* dx = dx_rows[n];
  const float r = rnorm[n];
  const float along = row_sum<float>(Block(), columns, [&](auto width, int p) {
    return each([](float dy, float y) { return dy * y; }, load<width>(dy, p), load<width>(y, p));
  });
  walk(Block(), columns, [&](auto width, int p) {
    const auto slope = [&](float dy, float y) { return T(r * (dy - y * along)); };
    store<width>(dx, p, each(slope, load<width>(dy, p), load<width>(y, p)));
  });
}

}  // namespace

void l2_normalize_forward(const L2NormalizeForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, y, a.rnorm.device_data<float>(),
           x, columns_of<packet_width<T>>(C, y, x));
  });
}

void l2_normalize_backward(const L2NormalizeBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.dy.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.dy.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), y = rows_of<T>(a.y);
    launch(backward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, dx, dy, y,
           a.rnorm.device_data<float>(), columns_of<packet_width<T>>(C, dx, dy, y));
  });
}

}  // namespace ov::kernels::OV_CUDA
