#include "kernels/cross_entropy.h"

#include <limits>

#include "base/math.h"
#include "base/sum.h"
#include "kernels/cpu/largest.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const CrossEntropyForward& a) {
  using A = Accum<T>;
  const auto [N, V] = a.logits.dims<2>();
  const std::int64_t* targets = a.targets.device_data<std::int64_t>();
  const A* weights = a.weights.device_data<A>();
  A *token_loss = a.token_loss.device_data<A>(), *lse = a.lse.device_data<A>();

  wide_for(N, 1, [&, V = V](std::int64_t n) {
    token_loss[n] = lse[2 * n] = lse[2 * n + 1] = 0;
    if (weights[n] == 0) return;
    if (targets[n] < 0 || targets[n] >= V)
      input_error("cross_entropy: row ", n, " has weight ", weights[n], " and target ", targets[n], ", outside of [0, ",
                  V, ")");
    const T* z = a.logits.device_row<T>(n);
    const A top = largest(V, z, -std::numeric_limits<A>::infinity());
    lse[2 * n] = top;
    lse[2 * n + 1] = math::log(sum<A>(V, [&](std::int64_t v) { return math::exp(z[v] - top); }));
    token_loss[n] = lse[2 * n + 1] - (z[targets[n]] - top);
  });
  a.loss.device_data<A>()[0] = a.denominator == 0 ? A(0) : dot<A>(N, weights, token_loss) / A(a.denominator);
}

template <class T>
void backward(const CrossEntropyBackward& a) {
  using A = Accum<T>;
  const auto [N, V] = a.logits.dims<2>();
  const std::int64_t* targets = a.targets.device_data<std::int64_t>();
  const A *weights = a.weights.device_data<A>(), *lse = a.lse.device_data<A>();
  const A scale = a.denominator == 0 ? A(0) : a.dloss.device_data<A>()[0] / A(a.denominator);

  wide_for(N, 1, [&, V = V](std::int64_t n) {
    T* dz = a.dlogits.device_row<T>(n);
    const A w = weights[n] * scale;
    if (w == 0) {
      std::fill_n(dz, V, T(0));
      return;
    }
    const T* z = a.logits.device_row<T>(n);
    const A top = lse[2 * n], log_sum = lse[2 * n + 1];
    for (std::int64_t v = 0; v < V; ++v) dz[v] = T(w * math::exp((z[v] - top) - log_sum));
    if (targets[n] < 0 || targets[n] >= V) return;  // in another rank's part of the vocabulary
    dz[targets[n]] = T(w * (math::exp((z[targets[n]] - top) - log_sum) - 1));
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyForward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void cross_entropy_backward(const CrossEntropyBackward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
