// Logits with a margin (kernels/margin_logits.h), in the CPU's operations: its bits.
//
//   z = scale c for a negative (0 where filtered), scale (c - m) or scale (c cos m - √(1-c²) sin m) for a positive
//   dcos = scale dz, times (cos m + c sin m / √max(1-c², ε)) for a positive of arcface; 0 where filtered
//
//   cos   | packet 0 | packet 1 | ...     one thread a packet of 16 bytes and its roles, of one byte each
//   roles | packet 0 | packet 1 | ...     (kernels/cuda/elementwise.h)
//
// bf16: forward 2 + 1 + 2 bytes an element, backward 2 + 2 + 1 + 2; about 4 FLOPs, 12 for the few positives.
#include "kernels/margin_logits.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

__device__ inline float clamped(float c) { return c > 1.f ? 1.f : c < -1.f ? -1.f : c; }

struct Settings {
  Margin margin;
  float scale, m, cos_m, sin_m, filter;

  template <class Args>
  explicit Settings(const Args& a)
      : margin(a.margin),
        scale(float(a.scale)),
        m(float(a.m)),
        cos_m(math::cos(m)),
        sin_m(math::sin(m)),
        filter(a.filter_above > 0 ? float(a.filter_above) : 2.f) {}
};

template <class T>
struct Forward {
  DeviceRows<T> z, cos;
  DeviceRows<std::uint8_t> roles;
  Settings s;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto v = load<width>(cos[n], p);
    const auto r = load<width>(roles[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) v.at[i] = T(logit(clamped(float(v.at[i])), r.at[i]));
    store<width>(z[n], p, v);
  }
  __device__ float logit(float c, std::uint8_t r) const {
    if (r < role::positive) return c > s.filter ? 0.f : s.scale * c;
    if (s.margin == Margin::cosface) return s.scale * (c - s.m);
    return s.scale * (c * s.cos_m - std::sqrt((1 - c) * (1 + c)) * s.sin_m);
  }
};

template <class T>
struct Backward {
  DeviceRows<T> dcos, dz, cos;
  DeviceRows<std::uint8_t> roles;
  Settings s;
  float least;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    auto d = load<width>(dz[n], p);
    const auto v = load<width>(cos[n], p);
    const auto r = load<width>(roles[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) d.at[i] = T(slope(clamped(float(v.at[i])), r.at[i], s.scale * float(d.at[i])));
    store<width>(dcos[n], p, d);
  }
  __device__ float slope(float c, std::uint8_t r, float d) const {
    if (r < role::positive) return c > s.filter ? 0.f : d;
    if (s.margin != Margin::arcface) return d;
    const float sin2 = (1 - c) * (1 + c);
    return d * (s.cos_m + c * s.sin_m / std::sqrt(sin2 > least ? sin2 : least));
  }
};

}  // namespace

void margin_logits_forward(const MarginLogitsForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.cos.dtype(), [&](auto t) {
    using T = decltype(t);
    auto [R, S] = a.cos.dims<2>();
    auto z = rows_of<T>(a.z), cos = rows_of<T>(a.cos);
    auto roles = rows_of<std::uint8_t>(a.roles);
    join_rows(R, S, z, cos, roles);
    for_each_packet<packet_width<T>>(Forward<T>{z, cos, roles, Settings(a)}, R, S, stream, z, cos, roles);
  });
}

void margin_logits_backward(const MarginLogitsBackward& a, gpu::Stream stream) {
  by_cuda_dtype(a.dz.dtype(), [&](auto t) {
    using T = decltype(t);
    auto [R, S] = a.cos.dims<2>();
    auto dcos = rows_of<T>(a.dcos), dz = rows_of<T>(a.dz), cos = rows_of<T>(a.cos);
    auto roles = rows_of<std::uint8_t>(a.roles);
    join_rows(R, S, dcos, dz, cos, roles);
    for_each_packet<packet_width<T>>(Backward<T>{dcos, dz, cos, roles, Settings(a), float(Float<T>::epsilon)}, R, S,
                                     stream, dcos, dz, cos, roles);
  });
}

}  // namespace ov::kernels::OV_CUDA
