#include "kernels/cluster_loss.h"

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
  const auto [R, S] = a.logits.dims<2>();
  T *row_loss = a.row_loss.device_data<T>(), *weights = a.weights.device_data<T>();
  parallel_for(R, grain(8 * S), [&, S = S](std::int64_t r) {
    T* lse = a.lse.device_row<T>(r);
    row_loss[r] = lse[0] = lse[1] = 0;
    if (weights[r] == 0) return;
    const T* z = a.logits.device_row<T>(r);
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T lowest = 0, highest = 0;  // the logit 0 is one of the terms
    for (std::int64_t s = 0; s < S; ++s) {
      if (roles[s] >= role::positive) lowest = z[s] < lowest ? z[s] : lowest;
      if (roles[s] == role::negative) highest = z[s] > highest ? z[s] : highest;
    }
    const T p = sum<T>(S, [&](std::int64_t s) {
      return roles[s] >= role::positive ? T(roles[s] - 1) * math::exp(lowest - z[s]) : T(0);
    });
    const T n = sum<T>(S, [&](std::int64_t s) {
      const T e = math::exp(roles[s] == role::negative ? z[s] - highest : T(0));
      return roles[s] == role::negative ? e : T(0);
    });
    lse[0] = math::log(math::exp(lowest) + p) - lowest;
    lse[1] = math::log(math::exp(-highest) + n) + highest;
    row_loss[r] = lse[0] + lse[1];
  });
  a.loss.device_data<T>()[0] = a.denominator == 0 ? T(0) : dot<T>(R, weights, row_loss) / T(a.denominator);
}

template <class T>
void backward(const ClusterLossBackward& a) {
  const auto [R, S] = a.logits.dims<2>();
  const T* weights = a.weights.device_data<T>();
  const T scale = a.denominator == 0 ? T(0) : a.dloss.device_data<T>()[0] / T(a.denominator);
  parallel_for(R, grain(8 * S), [&, S = S](std::int64_t r) {
    const T *z = a.logits.device_row<T>(r), *lse = a.lse.device_row<T>(r), w = weights[r] * scale;
    const std::uint8_t* roles = a.roles.device_row<std::uint8_t>(r);
    T* dz = a.dlogits.device_row<T>(r);
    if (w == 0) {
      std::fill_n(dz, S, T(0));
      return;
    }
    for (std::int64_t s = 0; s < S; ++s) {
      const T e = w * math::exp(roles[s] == role::negative ? z[s] - lse[1] : T(0));
      dz[s] = roles[s] == role::negative ? e : T(0);
    }
    for (std::int64_t s = 0; s < S; ++s)
      if (roles[s] >= role::positive) dz[s] = -w * T(roles[s] - 1) * math::exp(-z[s] - lse[0]);
  });
}

}  // namespace

void cluster_loss_forward(const ClusterLossForward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void cluster_loss_backward(const ClusterLossBackward& a) {
  by_dtype(a.logits.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
