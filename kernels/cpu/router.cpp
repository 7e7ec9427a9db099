#include "kernels/router.h"

#include "base/math.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/row_sums.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

// The k largest of z, the first of equal ones, ascending by index. Whatever z holds, they are k different experts.
template <class T>
void choose(std::int64_t E, const T* z, std::int64_t k, std::int64_t* chosen) {
  for (std::int64_t e = 0; e < E; ++e) {
    if (e >= k && !(z[e] > z[chosen[k - 1]])) continue;
    std::int64_t j = std::min(e, k - 1);
    for (; j > 0 && z[e] > z[chosen[j - 1]]; --j) chosen[j] = chosen[j - 1];
    chosen[j] = e;
  }
  std::sort(chosen, chosen + k);
}

// What the chosen experts' probabilities are divided by.
template <class A>
A divisor(bool normalise, std::int64_t k, const A* p, const std::int64_t* chosen) {
  return normalise ? sum<A>(k, [&](std::int64_t j) { return p[chosen[j]]; }) : A(1);
}

template <class T>
void forward(const RouterForward& a) {
  using A = Accum<T>;
  const auto [N, E] = a.logits.dims<2>();
  const std::int64_t k = a.experts.dim(1);
  parallel_for(N, grain(8 * E), [&, E = E](std::int64_t t) {
    const T* z = a.logits.device_row<T>(t);
    A *p = a.probabilities.device_row<A>(t), *w = a.weights.device_row<A>(t);
    std::int64_t* chosen = a.experts.device_row<std::int64_t>(t);
    if (a.forced) std::copy_n(a.forced.device_row<std::int64_t>(t), k, chosen);
    else choose(E, z, k, chosen);
    A top = z[0];
    for (std::int64_t e = 1; e < E; ++e) top = z[e] > top ? A(z[e]) : top;
    for (std::int64_t e = 0; e < E; ++e) p[e] = math::exp(z[e] - top);
    const A all = sum<A>(E, [&](std::int64_t e) { return p[e]; });
    for (std::int64_t e = 0; e < E; ++e) p[e] /= all;
    const A s = divisor<A>(a.normalise, k, p, chosen);
    for (std::int64_t j = 0; j < k; ++j) w[j] = p[chosen[j]] / s;
  });
}

template <class T>
void backward(const RouterBackward& a) {
  using A = Accum<T>;
  const auto [N, E] = a.dlogits.dims<2>();
  const std::int64_t k = a.experts.dim(1);
  parallel_for(N, grain(8 * E), [&, E = E](std::int64_t t) {
    const A* p = a.probabilities.device_row<A>(t);
    const std::int64_t* chosen = a.experts.device_row<std::int64_t>(t);
    thread_local std::vector<A> kept;
    kept.assign(static_cast<std::size_t>(E), A(0));
    A* dp = kept.data();
    if (a.dprobabilities) std::copy_n(a.dprobabilities.device_row<A>(t), E, dp);
    if (a.dweights) {
      const A* dw = a.dweights.device_row<A>(t);
      const A s = divisor<A>(a.normalise, k, p, chosen);
      const A mean = a.normalise ? sum<A>(k, [&](std::int64_t j) { return dw[j] * p[chosen[j]]; }) / s : A(0);
      for (std::int64_t j = 0; j < k; ++j) dp[chosen[j]] += (dw[j] - mean) / s;
    }
    const A mean = dot<A>(E, dp, p);
    T* dz = a.dlogits.device_row<T>(t);
    for (std::int64_t e = 0; e < E; ++e) dz[e] = T(p[e] * (dp[e] - mean));
  });
}

}  // namespace

void router_forward(const RouterForward& a) {
  by_dtype(a.logits.dtype(), [&](auto v) { forward<decltype(v)>(a); });
}

void router_backward(const RouterBackward& a) {
  by_dtype(a.dlogits.dtype(), [&](auto v) { backward<decltype(v)>(a); });
}

void load_balance_forward(const LoadBalanceForward& a) {
  const auto [N, E] = a.probabilities.dims<2>();
  const std::int64_t* n = a.counts.device_data<std::int64_t>();
  by_dtype(a.loss.dtype(), [&, N = N, E = E](auto v) {
    using T = decltype(v);
    std::vector<Accum<T>> total(static_cast<std::size_t>(E));  // Σ_t p_te
    add_sum_of_rows(N, E, total.data(), [&](std::int64_t t) {
      return [p = a.probabilities.device_row<T>(t)](std::int64_t e) { return p[e]; };
    });
    T& loss = *a.loss.device_data<T>();
    loss = T(loss + sum<Accum<T>>(E, [&](std::int64_t e) {
               return Accum<T>(a.factor * static_cast<double>(n[e])) * total[static_cast<std::size_t>(e)];
             }));
  });
}

void load_balance_backward(const LoadBalanceBackward& a) {
  const auto [N, E] = a.dprobabilities.dims<2>();
  const std::int64_t* n = a.counts.device_data<std::int64_t>();
  by_dtype(a.dloss.dtype(), [&, N = N, E = E](auto v) {
    using T = decltype(v);
    const Accum<T> dloss = *a.dloss.device_data<T>();
    parallel_for(N, grain(E), [&, E](std::int64_t t) {
      T* dp = a.dprobabilities.device_row<T>(t);
      for (std::int64_t e = 0; e < E; ++e) dp[e] = T(dloss * Accum<T>(a.factor * static_cast<double>(n[e])));
    });
  });
}

}  // namespace ov::kernels::cpu
