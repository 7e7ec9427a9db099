#include "kernels/cluster_loss.h"

#include <atomic>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/margin_logits.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const ClusterLossForward& a) {
  using A = Accum<T>;
  const auto [R, S] = a.logits.dims<2>();
  A *row_loss = a.row_loss.device_data<A>(), *weights = a.weights.device_data<A>();
  parallel_for(R, grain(8 * S), [&, S = S](std::int64_t r) {
    A* lse = a.lse.device_row<A>(r);
    row_loss[r] = lse[0] = lse[1] = 0;
    if (weights[r] == 0) return;
    const T* z = a.logits.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    A lowest = 0, highest = 0;  // the logit 0 is one of the terms
    for (std::int64_t s = 0; s < S; ++s) {
      if (roles[s] >= role::positive) lowest = z[s] < lowest ? A(z[s]) : lowest;
      if (roles[s] == role::negative) highest = z[s] > highest ? A(z[s]) : highest;
    }
    const A p = sum<A>(S, [&](std::int64_t s) {
      return roles[s] >= role::positive ? A(roles[s] - 1) * math::exp(lowest - z[s]) : A(0);
    });
    const A n = sum<A>(S, [&](std::int64_t s) {
      const A e = math::exp(roles[s] == role::negative ? z[s] - highest : A(0));
      return roles[s] == role::negative ? e : A(0);
    });
    lse[0] = math::log(math::exp(lowest) + p) - lowest;
    lse[1] = math::log(math::exp(-highest) + n) + highest;
    row_loss[r] = lse[0] + lse[1];
  });
  a.loss.device_data<A>()[0] = a.denominator == 0 ? A(0) : dot<A>(R, weights, row_loss) / A(a.denominator);
}

template <class T>
void backward(const ClusterLossBackward& a) {
  using A = Accum<T>;
  const auto [R, S] = a.logits.dims<2>();
  const A* weights = a.weights.device_data<A>();
  const A scale = a.denominator == 0 ? A(0) : a.dloss.device_data<A>()[0] / A(a.denominator);
  parallel_for(R, grain(8 * S), [&, S = S](std::int64_t r) {
    const T* z = a.logits.device_row<T>(r);
    const A *lse = a.lse.device_row<A>(r), w = weights[r] * scale;
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* dz = a.dlogits.device_row<T>(r);
    if (w == 0) {
      std::fill_n(dz, S, T(0));
      return;
    }
    for (std::int64_t s = 0; s < S; ++s) {
      const A e = w * math::exp(roles[s] == role::negative ? z[s] - lse[1] : A(0));
      dz[s] = T(roles[s] == role::negative ? e : A(0));
    }
    for (std::int64_t s = 0; s < S; ++s)
      if (roles[s] >= role::positive) dz[s] = T(-w * A(roles[s] - 1) * math::exp(-z[s] - lse[0]));
  });
}

template <class T>
void hits(const ClusterHits& a) {
  const auto [R, S] = a.cos.dims<2>();
  const std::int64_t* wanted = a.k.device_data<std::int64_t>();
  std::atomic<std::int64_t> all{0};
  parallel_for(R, grain(2 * S), [&, S = S](std::int64_t r) {
    const T* cos = a.cos.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    for (std::int64_t s = 0; s < S; ++s) {
      if (roles[s] < role::positive) continue;
      std::int64_t above = 0;
      for (std::int64_t k = 0; k < S; ++k)
        above += roles[k] != role::none && (cos[k] > cos[s] || (cos[k] == cos[s] && k < s));
      all += above < wanted[r];
    }
  });
  a.hits.device_data<double>()[0] += static_cast<double>(all);
}

template <class T>
void above(const ClusterAbove& a) {
  const std::int64_t P = a.value.numel(), S = a.cos.dim(1);
  const std::int64_t *row = a.row.device_data<std::int64_t>(), *column = a.column.device_data<std::int64_t>();
  const T* value = a.value.device_data<T>();
  std::int64_t* found = a.above.device_data<std::int64_t>();
  parallel_for(P, grain(2 * S), [&](std::int64_t p) {
    const T *cos = a.cos.device_row<T>(row[p]), own = value[p];
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(row[p]);
    for (std::int64_t k = 0; k < S; ++k)
      found[p] += roles[k] != role::none && (cos[k] > own || (cos[k] == own && k < column[p]));
  });
}

}  // namespace

void cluster_loss_forward(const ClusterLossForward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void cluster_loss_backward(const ClusterLossBackward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

void cluster_hits(const ClusterHits& a) {
  by_dtype(a.cos.dtype(), [&](auto t) { hits<decltype(t)>(a); });
}

void cluster_above(const ClusterAbove& a) {
  by_dtype(a.cos.dtype(), [&](auto t) { above<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
