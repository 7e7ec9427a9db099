#include "kernels/cluster_loss.h"

#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/margin_logits.h"

namespace ov {

ClusterLoss cluster_loss(const Var& logits, const Tensor& roles, const Tensor& weights, double denominator) {
  const std::int64_t R = logits.dim(0);
  const Dtype kept = accum_dtype(logits.value.dtype());
  Device& device = logits.value.device();
  const Tensor loss({1}, kept, device), row_loss({R}, kept, device), lse({R, 2}, kept, device);
  kernels::cluster_loss_forward({.loss = loss,
                                 .row_loss = row_loss,
                                 .lse = lse,
                                 .logits = logits.value,
                                 .roles = roles,
                                 .weights = weights,
                                 .denominator = denominator});

  const Var v = record({.op = Op::cluster_loss,
                        .inputs = {logits},
                        .outputs = {loss},
                        .saved = {logits.value, roles, weights, lse},
                        .backward = [denominator](const Node& n, Grads& d) {
                          kernels::cluster_loss_backward({.dlogits = d.in[0],
                                                          .dloss = d.out[0],
                                                          .logits = n.saved[0],
                                                          .roles = n.saved[1],
                                                          .weights = n.saved[2],
                                                          .lse = n.saved[3],
                                                          .denominator = denominator});
                        }});
  return {v, row_loss};
}

extern const OpRow cluster_loss_row;
const OpRow cluster_loss_row = {
    .op = Op::cluster_loss,
    .name = "cluster_loss",
    .example = [](Example& e) -> std::vector<Var> {
      // A row with one positive, one with two of which one counts twice, one without positives, one of weight 0.
      const std::int64_t S = e.size(4);
      const std::uint8_t first[4][4] = {{1, 2, 1, 1}, {0, 3, 1, 2}, {1, 0, 1, 1}, {2, 1, 1, 1}};
      std::vector<std::uint8_t> roles;
      for (const auto& row : first)
        for (std::int64_t s = 0; s < S; ++s) roles.push_back(s < 4 ? row[s] : kernels::role::negative);
      const Var z = e.input({4, S});
      return {
          cluster_loss(z, Tensor::of(roles, {4, S}, z.value.device()), e.numbers({0.5, 1, 0.75, 0}, {4}), 2.5).loss};
    },
    .tolerance = 1e-7,
    .cost = moved_once_with_exp,
};

}  // namespace ov
