// Layer norm (kernels/layernorm.h). Sums in the order of base/sum.h and kernels/cpu/row_sums.h: the CPU's bits.
//
//   y = (x - m) r w + b,  dx = r (g - mean g - h mean(g h)),  g = dy w,  h = (x - m) r,  dw += Σ dy h,  db += Σ dy
//
//   row n of x | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...     one block a row, 16 bytes a packet
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...     (kernels/cuda/reduce.h)
//   dw, db       64 rows a block, one thread a packet of columns, then a tree   (kernels/cuda/row_sums.h)
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
                        Columns<packet_width<T>> columns, float eps) {
  const std::int64_t n = blockIdx.x;
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const auto C = float(columns.count);
  const float m =
      row_sum<float>(Block(), columns,
                     [&](auto width, int p) { return each([](float x) { return x; }, load<width>(x, p)); }) /
      C;
  const float square = row_sum<float>(Block(), columns, [&](auto width, int p) {
    return each([&](float x) { return (x - m) * (x - m); }, load<width>(x, p));
  });
  const float r = math::rsqrt(square / C + eps);
  walk(Block(), columns, [&](auto width, int p) {
    const auto scaled = [&](float x, float w, float b) { return T((x - m) * r * w + b); };
    store<width>(y, p, each(scaled, load<width>(x, p), load<width>(w, p), load<width>(b, p)));
  });
  if (threadIdx.x == 0) mean[n] = m, rstd[n] = r;
}

template <class T>
__global__ void backward_x(DeviceRows<T> dx_rows, DeviceRows<T> dy_rows, DeviceRows<T> x_rows, const T* w,
                           const float* mean, const float* rstd, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *x = x_rows[n];
  T* dx = dx_rows[n];
  const auto C = float(columns.count);
  const float m = mean[n], r = rstd[n];
  const float g =
      row_sum<float>(Block(), columns,
                     [&](auto width, int p) {
                       return each([](float dy, float w) { return dy * w; }, load<width>(dy, p), load<width>(w, p));
                     }) /
      C;
  const float gh =
      row_sum<float>(Block(), columns,
                     [&](auto width, int p) {
                       const auto along = [&](float dy, float w, float x) { return dy * w * ((x - m) * r); };
                       return each(along, load<width>(dy, p), load<width>(w, p), load<width>(x, p));
                     }) /
      C;
  walk(Block(), columns, [&](auto width, int p) {
    const auto slope = [&](float dy, float w, float x) { return T(r * (dy * w - g - (x - m) * r * gh)); };
    store<width>(dx, p, each(slope, load<width>(dy, p), load<width>(w, p), load<width>(x, p)));
  });
}

template <class T>
struct ScaleGradient {
  DeviceRows<T> dy, x;
  const float *mean, *rstd;
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t p) const {
    const float m = mean[n], r = rstd[n];
    return each([&](float dy, float x) { return dy * ((x - m) * r); }, load<width>(dy[n], p), load<width>(x[n], p));
  }
};
template <class T>
struct BiasGradient {
  DeviceRows<T> dy;
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t p) const {
    return each([](float dy) { return dy; }, load<width>(dy[n], p));
  }
};

}  // namespace

void layernorm_forward(const LayernormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    const T *w = a.w.device_data<T>(), *b = a.b.device_data<T>();
    launch(forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, y, a.mean.device_data<float>(),
           a.rstd.device_data<float>(), x, w, b, columns_of<packet_width<T>>(C, y, x, w, b), float(a.eps));
  });
}

void layernorm_backward(const LayernormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    constexpr int most = packet_width<T>;
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    const T* w = a.w.device_data<T>();
    const float *mean = a.mean.device_data<float>(), *rstd = a.rstd.device_data<float>();
    const auto columns = columns_of<most>(C, dx, dy, x, w);
    if (a.dx)
      launch(backward_x<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, dx, dy, x, w, mean, rstd,
             columns);
    const SumScratch space = scratch_of(a);
    add_sum_of_rows<most>(space, a.dw, ScaleGradient<T>{dy, x, mean, rstd}, columns.wide, stream);
    add_sum_of_rows<most>(space, a.db, BiasGradient<T>{dy}, columns.wide, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
