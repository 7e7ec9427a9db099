#include "kernels/dropout.h"

#include "base/parallel.h"
#include "kernels/cpu/grain.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void run(const Dropout& a) {
  const auto [N, C] = a.x.dims<2>();
  const auto factor = static_cast<Accum<T>>(a.factor);
  const auto share = static_cast<float>(a.share);
  parallel_for(N, grain(8 * C), [&, C = C](std::int64_t n) {
    const T* x = a.x.device_row<T>(n);
    T* y = a.y.device_row<T>(n);
    for (std::int64_t c = 0; c < C; ++c) y[c] = T(factor * Accum<T>(x[c]));
    if (share == 0) return;
    PhiloxWords words(a.random, a.first + static_cast<std::uint64_t>(n * C));
    for (std::int64_t c = 0; c < C; ++c)
      if (!dropout_keeps(words(), share)) y[c] = T(0.0F);
  });
}

}  // namespace

void dropout(const Dropout& a) {
  by_dtype(a.x.dtype(), [&](auto t) { run<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
