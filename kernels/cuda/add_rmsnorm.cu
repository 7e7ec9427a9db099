// A residual sum and the RMS norm that reads it (kernels/add_rmsnorm.h), with the CPU's bits (base/sum.h).
//
//   h = a + b,  y = w h r,  r = (mean h² + eps)^-½;  dx = dh + r (dy w - h r² mean(dy w h))
//
//   row n of h | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...     one block a row, 16 bytes a packet
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...     (kernels/cuda/reduce.h)
//
// The sum over the row only reads; the second pass adds a and b again, which are in the cache, and writes h and y. So h
// may be a or b. bf16: forward 2 + 2 + 2 + 2 bytes an element, where add and rmsnorm move 12; backward 2 + 2 + 2 or 4
// for dh + 4 for dx, which is f32 as sums of gradients are. 6 FLOPs forward, 6 backward; dw is rmsnorm's.
#include "kernels/add_rmsnorm.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

// One block a row.
template <class T>
__global__ void add_forward(DeviceRows<T> h_rows, DeviceRows<T> y_rows, float* rstd, DeviceRows<T> a_rows,
                            DeviceRows<T> b_rows, const T* w, Columns<packet_width<T>> columns, float eps) {
  const std::int64_t n = blockIdx.x;
  const T *a = a_rows[n], *b = b_rows[n];
  T *h = h_rows[n], *y = y_rows[n];
  const auto sum = [&](auto width, int p) {
    return each([](float a, float b) { return T(a + b); }, load<width>(a, p), load<width>(b, p));
  };
  const float square = row_sum<float>(
      Block(), columns, [&](auto width, int p) { return each([](float h) { return h * h; }, sum(width, p)); });
  const float r = math::rsqrt(square / float(columns.count) + eps);
  walk(Block(), columns, [&](auto width, int p) {
    const auto both = sum(width, p);
    store<width>(h, p, both);
    store<width>(y, p, each([&](float w, float h) { return T(w * (h * r)); }, load<width>(w, p), both));
  });
  if (threadIdx.x == 0) rstd[n] = r;
}

template <class T, class Dh>
__global__ void add_backward(DeviceRows<float> dx_rows, DeviceRows<Dh> dh_rows, DeviceRows<T> dy_rows,
                             DeviceRows<T> h_rows, const T* w, const float* rstd, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *h = h_rows[n];
  const Dh* dh = dh_rows[n];
  float* dx = dx_rows[n];
  const float r = rstd[n];
  const float along = row_sum<float>(Block(), columns, [&](auto width, int p) {
    const auto product = [](float dy, float w, float h) { return dy * w * h; };
    return each(product, load<width>(dy, p), load<width>(w, p), load<width>(h, p));
  });
  const float k = r * r / float(columns.count) * along;
  walk(Block(), columns, [&](auto width, int p) {
    const auto slope = [&](float dh, float dy, float w, float h) { return dh + float(T(r * (dy * w - h * k))); };
    store<width>(dx, p, each(slope, load<width>(dh, p), load<width>(dy, p), load<width>(w, p), load<width>(h, p)));
  });
}

template <class T, class Dh>
void run_backward(const AddRmsnormBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.h.dims<2>();
  const auto dx = rows_of<float>(a.dx);
  const auto dh = rows_of<Dh>(a.dh);
  const auto dy = rows_of<T>(a.dy), h = rows_of<T>(a.h);
  const T* w = a.w.device_data<T>();
  launch(add_backward<T, Dh>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, dx, dh, dy, h, w,
         a.rstd.device_data<float>(), columns_of<packet_width<T>>(C, dx, dh, dy, h, w));
}

}  // namespace

void add_rmsnorm_forward(const AddRmsnormForward& a, gpu::Stream stream) {
  const auto [N, C] = a.a.dims<2>();
  if (N == 0 || C == 0) return;
  by_cuda_dtype(a.a.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto h = rows_of<T>(a.h), y = rows_of<T>(a.y), x = rows_of<T>(a.a), b = rows_of<T>(a.b);
    const T* w = a.w.device_data<T>();
    launch(add_forward<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, h, y,
           a.rstd.device_data<float>(), x, b, w, columns_of<packet_width<T>>(C, h, y, x, b, w), float(a.eps));
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
