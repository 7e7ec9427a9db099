// SwiGLU (kernels/swiglu.h), with exp of base/math.h: the CPU's bits.
//
//   y = silu(g) u,  du = dy silu(g),  dg = dy u σ(g) (1 + g (1 - σ(g)))
//
//   gate | packet 0 | packet 1 | ...   one thread a packet of 16 bytes, the same one of gate and up, which may be the
//   up   | packet 0 | packet 1 | ...   halves of one buffer (kernels/cuda/elementwise.h)
//
// bf16: forward 2 + 2 + 2 bytes an element, backward 6 + 4; about 25 FLOPs forward, 40 backward.
#include "kernels/swiglu.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Forward {
  DeviceRows<T> y, gate, up;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto g = load<width>(gate[n], p);
    const auto u = load<width>(up[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) g.at[i] = T(math::silu(float(g.at[i])) * float(u.at[i]));
    store<width>(y[n], p, g);
  }
};

template <class T>
struct Backward {
  DeviceRows<T> dgate, dup, dy, gate, up;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const auto d = load<width>(dy[n], p), g = load<width>(gate[n], p);
    if (dgate.data) {
      auto u = load<width>(up[n], p);
      UNROLL
      for (int i = 0; i < width; ++i)
        u.at[i] = T(float(d.at[i]) * float(u.at[i]) * math::silu_derivative(float(g.at[i])));
      store<width>(dgate[n], p, u);
    }
    if (dup.data) {
      Packet<T, width> du;
      UNROLL
      for (int i = 0; i < width; ++i) du.at[i] = T(float(d.at[i]) * math::silu(float(g.at[i])));
      store<width>(dup[n], p, du);
    }
  }
};

}  // namespace

void swiglu_forward(const SwigluForward& a, gpu::Stream stream) {
  auto [N, F] = a.gate.dims<2>();
  by_cuda_dtype(a.gate.dtype(), [&, N = N, F = F](auto t) mutable {
    using T = decltype(t);
    auto y = rows_of<T>(a.y), gate = rows_of<T>(a.gate), up = rows_of<T>(a.up);
    join_rows(N, F, y, gate, up);
    for_each_packet<packet_width<T>>(Forward<T>{y, gate, up}, N, F, stream, y, gate, up);
  });
}

void swiglu_backward(const SwigluBackward& a, gpu::Stream stream) {
  auto [N, F] = a.gate.dims<2>();
  by_cuda_dtype(a.gate.dtype(), [&, N = N, F = F](auto t) mutable {
    using T = decltype(t);
    auto dgate = rows_of<T>(a.dgate), dup = rows_of<T>(a.dup);
    auto dy = rows_of<T>(a.dy), gate = rows_of<T>(a.gate), up = rows_of<T>(a.up);
    join_rows(N, F, dgate, dup, dy, gate, up);
    for_each_packet<packet_width<T>>(Backward<T>{dgate, dup, dy, gate, up}, N, F, stream, dgate, dup, dy, gate, up);
  });
}

}  // namespace ov::kernels::OV_CUDA
