#include "kernels/margin_logits.h"

#include "base/math.h"
#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class A>
A clamped(A c) {
  return c > A(1) ? A(1) : c < A(-1) ? A(-1) : c;
}

template <class T>
void forward(const MarginLogitsForward& a) {
  using A = Accum<T>;
  const auto [R, S] = a.cos.dims<2>();
  const A scale = A(a.scale), m = A(a.m), filter = a.filter_above > 0 ? A(a.filter_above) : A(2);
  const A cos_m = math::cos(m), sin_m = math::sin(m);
  parallel_for(R, grain(2 * S), [&, S = S](std::int64_t r) {
    const T* cos = a.cos.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* z = a.z.device_row<T>(r);
    for (std::int64_t s = 0; s < S; ++s) z[s] = T(scale * clamped(A(cos[s])));
    for (std::int64_t s = 0; s < S; ++s) {
      const A c = clamped(A(cos[s]));
      if (roles[s] < role::positive) {
        if (c > filter) z[s] = T(0);
      } else if (a.margin == Margin::cosface) {
        z[s] = T(scale * (c - m));
      } else {
        z[s] = T(scale * (c * cos_m - std::sqrt((1 - c) * (1 + c)) * sin_m));
      }
    }
  });
}

template <class T>
void backward(const MarginLogitsBackward& a) {
  using A = Accum<T>;
  const auto [R, S] = a.cos.dims<2>();
  const A scale = A(a.scale), m = A(a.m), filter = a.filter_above > 0 ? A(a.filter_above) : A(2);
  const A cos_m = math::cos(m), sin_m = math::sin(m), least = Float<T>::epsilon;
  parallel_for(R, grain(2 * S), [&, S = S](std::int64_t r) {
    const T *cos = a.cos.device_row<T>(r), *dz = a.dz.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* dcos = a.dcos.device_row<T>(r);
    for (std::int64_t s = 0; s < S; ++s) dcos[s] = T(scale * dz[s]);
    for (std::int64_t s = 0; s < S; ++s) {
      const A c = clamped(A(cos[s]));
      if (roles[s] < role::positive) {
        if (c > filter) dcos[s] = T(0);
      } else if (a.margin == Margin::arcface) {
        const A sin2 = (1 - c) * (1 + c);
        dcos[s] = T(scale * dz[s] * (cos_m + c * sin_m / std::sqrt(sin2 > least ? sin2 : least)));
      }
    }
  });
}

}  // namespace

void margin_logits_forward(const MarginLogitsForward& a) {
  by_dtype(a.cos.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void margin_logits_backward(const MarginLogitsBackward& a) {
  by_dtype(a.dz.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
