// GELU (kernels/gelu.h), with erf and exp of base/math.h: the CPU's bits.
//
//   y = x Φ(x),  dx = dy (Φ(x) + x φ(x))      exact;   y = x σ(1.702 x)     quick
//
//   x | packet 0 | packet 1 | ...             one thread a packet of 16 bytes (kernels/cuda/elementwise.h)
//
// bf16: forward 2 + 2 bytes an element, backward 2 + 2 + 2; about 60 FLOPs, most of them in erf and exp.
#include "kernels/gelu.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T, GeluForm form>
struct Forward {
  DeviceRows<T> y, x;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto v = load<width>(x[n], p);
    UNROLL
    for (T& e : v.at) e = T(form == GeluForm::exact ? math::gelu(float(e)) : math::quick_gelu(float(e)));
    store<width>(y[n], p, v);
  }
};

template <class T, GeluForm form>
struct Backward {
  DeviceRows<T> dx, dy, x;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const auto v = load<width>(x[n], p);
    auto d = load<width>(dy[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float e = float(v.at[i]);
      d.at[i] =
          T(float(d.at[i]) * (form == GeluForm::exact ? math::gelu_derivative(e) : math::quick_gelu_derivative(e)));
    }
    store<width>(dx[n], p, d);
  }
};

}  // namespace

void gelu_forward(const GeluForward& a, gpu::Stream stream) {
  auto [N, F] = a.x.dims<2>();
  by_cuda_dtype(a.x.dtype(), [&, N = N, F = F](auto t) mutable {
    using T = decltype(t);
    auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    join_rows(N, F, y, x);
    constexpr int width = packet_width<T>;
    const auto run = [&](const auto& f) { for_each_packet<width>(f, N, F, stream, y, x); };
    a.form == GeluForm::exact ? run(Forward<T, GeluForm::exact>{y, x}) : run(Forward<T, GeluForm::quick>{y, x});
  });
}

void gelu_backward(const GeluBackward& a, gpu::Stream stream) {
  auto [N, F] = a.x.dims<2>();
  by_cuda_dtype(a.x.dtype(), [&, N = N, F = F](auto t) mutable {
    using T = decltype(t);
    auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    join_rows(N, F, dx, dy, x);
    constexpr int width = packet_width<T>;
    const auto run = [&](const auto& f) { for_each_packet<width>(f, N, F, stream, dx, dy, x); };
    a.form == GeluForm::exact ? run(Backward<T, GeluForm::exact>{dx, dy, x})
                              : run(Backward<T, GeluForm::quick>{dx, dy, x});
  });
}

}  // namespace ov::kernels::OV_CUDA
