// The learned temperature (kernels/exp_scale.h). Sums in the order of base/sum.h: the CPU's bits.
//
//   y = e^s x,  dx = e^s dy,  ds += e^s Σ_n Σ_c dy x
//
//   y, dx   one thread a packet of 16 bytes (kernels/cuda/elementwise.h)
//   ds      | row 0 -> rows_0 | row 1 -> rows_1 | ...   one block a row, by packets (kernels/cuda/reduce.h), then one
//                                                       for `rows`: few numbers, one by one
//
// bf16: forward 2 + 2 bytes an element, backward 2 + 2 for dx and 2 + 2 for ds; 1 and 3 FLOPs.
#include "kernels/exp_scale.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Scale {
  DeviceRows<T> y, x;
  const T* s;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const float scale = math::exp(float(*s));
    auto v = load<width>(x[n], p);
    UNROLL
    for (T& e : v.at) e = T(scale * float(e));
    store<width>(y[n], p, v);
  }
};

template <class T>
void scale(const Tensor& to, const Tensor& from, const T* s, gpu::Stream stream) {
  auto [N, C] = to.dims<2>();
  auto y = rows_of<T>(to), x = rows_of<T>(from);
  join_rows(N, C, y, x);
  for_each_packet<packet_width<T>>(Scale<T>{y, x, s}, N, C, stream, y, x);
}

template <class T>
__global__ void products(float* rows, DeviceRows<T> dy_rows, DeviceRows<T> x_rows, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  const T *dy = dy_rows[n], *x = x_rows[n];
  const float sum = row_sum<float>(Block(), columns, [&](auto width, int p) {
    return each([](float dy, float x) { return dy * x; }, load<width>(dy, p), load<width>(x, p));
  });
  if (threadIdx.x == 0) rows[n] = sum;
}

template <class T>
__global__ void add_products(float* ds, const float* rows, const T* s, std::int64_t N) {
  const float sum = row_sum<float>(N, [&](std::int64_t n) { return rows[n]; });
  if (threadIdx.x == 0) *ds += math::exp(float(*s)) * sum;
}

}  // namespace

void exp_scale_forward(const ExpScaleForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    scale<T>(a.y, a.x, a.s.device_data<T>(), stream);
  });
}

void exp_scale_backward(const ExpScaleBackward& a, gpu::Stream stream) {
  const auto [N, C] = a.dy.dims<2>();
  by_cuda_dtype(a.dy.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const T* s = a.s.device_data<T>();
    if (a.dx) scale<T>(a.dx, a.dy, s, stream);
    const Tensor rows = scratch_of(a);
    if (!rows) return;
    const auto dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    launch(products<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(C)), 0, stream, rows.device_data<float>(), dy,
           x, columns_of<packet_width<T>>(C, dy, x));
    launch(add_products<T>, dim3(1), dim3(row_threads(N)), 0, stream, a.ds.device_data<float>(),
           rows.device_data<float>(), s, N);
  });
}

}  // namespace ov::kernels::OV_CUDA
