// Sums of two arrays, and of the rows of one (kernels/rows.h).
//
//   y = a + b             a, b, y | packet 0 | packet 1 | ...   one thread a packet of 8 elements (bf16) or 4 (f32),
//                                                               kernels/cuda/elementwise.h
//   sum_c += Σ_n x_nc     rows  0 .. 63  of x | packet 0 | p. 1 | ... one thread a packet of columns: partial[0][c]
//                         rows 64 .. 127      | packet 0 | p. 1 | ... partial[1][c]; then a tree over them,
//                         ...                                         kernels/cuda/row_sums.h
//
// add: size(a) + size(b) + size(y) bytes an element, one FLOP. sum_rows: size(x) bytes and one FLOP, and 8 bytes for
// every 64 elements of a column.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T, class B>
struct Sum {
  DeviceRows<T> y, a;
  DeviceRows<B> b;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto x = load<width>(a[n], p);
    const auto z = load<width>(b[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) x.at[i] = T(float(x.at[i]) + float(z.at[i]));
    store<width>(y[n], p, x);
  }
};

template <class T, class B>
void add_arrays(const Add& a, gpu::Stream stream) {
  auto [N, C] = a.y.dims<2>();
  auto y = rows_of<T>(a.y), x = rows_of<T>(a.a);
  auto z = rows_of<B>(a.b);
  join_rows(N, C, y, x, z);
  for_each_packet<packet_width<T>>(Sum<T, B>{y, x, z}, N, C, stream, y, x, z);
}

template <class T>
struct Element {
  DeviceRows<T> x;
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t p) const {
    return each([](float x) { return x; }, load<width>(x[n], p));
  }
};

}  // namespace

void add(const Add& a, gpu::Stream stream) {
  if (a.b.dtype() != a.y.dtype()) return add_arrays<float, Bf16>(a, stream);
  by_cuda_dtype(a.y.dtype(), [&](auto t) { add_arrays<decltype(t), decltype(t)>(a, stream); });
}

void sum_rows(const SumRows& a, gpu::Stream stream) {
  const SumScratch space = scratch_of(a);
  by_cuda_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto x = rows_of<T>(a.x);
    add_sum_of_rows<packet_width<T>>(space, a.sum, Element<T>{x}, in_packets<packet_width<T>>(x, space.C), stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
