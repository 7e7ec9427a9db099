// Region losses on given numbers: cosines, margin, loss, and both gradients, as one function for the tests.
#pragma once
#include "train/objectives/cluster_discrimination.h"

namespace ov::rice_test {

struct LossCase {
  Var region, centre;                 // [B,D], [K,D]
  Tensor roles;                       // [B,S] u8
  std::vector<std::int64_t> classes;  // of the S columns; empty: all of the centres
  MarginOptions margin;
  bool softmax = false;
};

inline Var loss_of(const LossCase& c) {
  const std::int64_t B = c.region.dim(0);
  const auto S = static_cast<std::int64_t>(c.classes.size());
  const Var w = c.classes.empty() ? c.centre : embedding(Tensor::of(c.classes, {S}), c.centre);
  const Var z = margin_logits(linear(l2_normalize(c.region), l2_normalize(w)), c.roles, c.margin);
  const Tensor ones({B}, accum_dtype(c.region.value.dtype()), cpu());
  by_dtype(ones.dtype(), [&](auto v) { std::fill_n(ones.data<decltype(v)>(), B, decltype(v)(1)); });
  if (!c.softmax) return cluster_loss(z, c.roles, ones, static_cast<double>(B)).loss;
  std::vector<std::int64_t> target;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::uint8_t* r = c.roles.row<std::uint8_t>(b);
    target.push_back(std::find(r, r + c.roles.dim(1), kernels::role::positive) - r);
  }
  return cross_entropy(z, Tensor::of(target, {B}), ones, static_cast<double>(B)).loss;
}

}  // namespace ov::rice_test
