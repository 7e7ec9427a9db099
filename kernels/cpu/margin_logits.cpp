#include "kernels/margin_logits.h"

#include <limits>

#include "base/math.h"
#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
T clamped(T c) {
  return c > T(1) ? T(1) : c < T(-1) ? T(-1) : c;
}

template <class T>
void forward(const MarginLogitsForward& a) {
  const auto [R, S] = a.cos.dims<2>();
  const T scale = T(a.scale), m = T(a.m), filter = a.filter_above > 0 ? T(a.filter_above) : T(2);
  const T cos_m = math::cos(m), sin_m = math::sin(m);
  parallel_for(R, grain(2 * S), [&, S = S](std::int64_t r) {
    const T* cos = a.cos.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* z = a.z.device_row<T>(r);
    for (std::int64_t s = 0; s < S; ++s) z[s] = scale * clamped(cos[s]);
    for (std::int64_t s = 0; s < S; ++s) {
      const T c = clamped(cos[s]);
      if (roles[s] < role::positive) {
        if (c > filter) z[s] = 0;
      } else if (a.margin == Margin::cosface) {
        z[s] = scale * (c - m);
      } else {
        z[s] = scale * (c * cos_m - std::sqrt((1 - c) * (1 + c)) * sin_m);
      }
    }
  });
}

template <class T>
void backward(const MarginLogitsBackward& a) {
  const auto [R, S] = a.cos.dims<2>();
  const T scale = T(a.scale), m = T(a.m), filter = a.filter_above > 0 ? T(a.filter_above) : T(2);
  const T cos_m = math::cos(m), sin_m = math::sin(m), least = std::numeric_limits<T>::epsilon();
  parallel_for(R, grain(2 * S), [&, S = S](std::int64_t r) {
    const T *cos = a.cos.device_row<T>(r), *dz = a.dz.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* dcos = a.dcos.device_row<T>(r);
    for (std::int64_t s = 0; s < S; ++s) dcos[s] = scale * dz[s];
    for (std::int64_t s = 0; s < S; ++s) {
      const T c = clamped(cos[s]);
      if (roles[s] < role::positive) {
        if (c > filter) dcos[s] = 0;
      } else if (a.margin == Margin::arcface) {
        const T sin2 = (1 - c) * (1 + c);
        dcos[s] *= cos_m + c * sin_m / std::sqrt(sin2 > least ? sin2 : least);
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
