// A factor, and dropout (kernels/dropout.h): the CPU's bits.
//
//   y_nc = factor x_nc where u_nc >= share, else 0
//
//   x | packet 0 | packet 1 | ...             one thread a packet of 16 bytes (kernels/cuda/elementwise.h)
//
// bf16: 2 + 2 bytes and one FLOP an element. Philox: about 70 integer operations for four elements, or none when share
// is 0.
#include "kernels/dropout.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Drop {
  DeviceRows<T> y, x;
  std::int64_t C;
  float factor, share;
  Philox random;
  std::uint64_t first;

  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto v = load<width>(x[n], p);
    UNROLL
    for (T& e : v.at) e = T(factor * float(e));
    if (share != 0) {
      PhiloxWords words(random, first + static_cast<std::uint64_t>(n * C + p * width));
      UNROLL
      for (T& e : v.at)
        if (!dropout_keeps(words(), share)) e = T(0.0F);
    }
    store<width>(y[n], p, v);
  }
};

}  // namespace

void dropout(const Dropout& a, gpu::Stream stream) {
  const auto [N, C] = a.x.dims<2>();
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    const Drop<T> drop{.y = y,
                       .x = x,
                       .C = C,
                       .factor = float(a.factor),
                       .share = float(a.share),
                       .random = a.random,
                       .first = a.first};
    for_each_packet<packet_width<T>>(drop, N, C, stream, y, x);
  });
}

}  // namespace ov::kernels::OV_CUDA
