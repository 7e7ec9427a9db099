#include "autograd/ops/cross_entropy.h"

#include "autograd/ops.h"
#include "kernels/cross_entropy.h"

namespace ov {

CrossEntropy cross_entropy(const Var& logits, const Tensor& targets, const Tensor& weights, double denominator) {
  const Tensor& z = logits.value;
  const Tensor loss({1}, accum_dtype(z.dtype()), z.device()), token_loss({z.dim(0)}, loss.dtype(), z.device()),
      lse({z.dim(0), 2}, loss.dtype(), z.device());
  kernels::cross_entropy_forward({.loss = loss,
                                  .token_loss = token_loss,
                                  .lse = lse,
                                  .logits = z,
                                  .targets = targets,
                                  .weights = weights,
                                  .denominator = denominator});

  return {record_cross_entropy(Op::cross_entropy, logits, loss, targets, weights, lse, denominator), token_loss};
}

Var record_cross_entropy(Op op, const Var& logits, const Tensor& loss, const Tensor& targets, const Tensor& weights,
                         const Tensor& lse, double denominator) {
  return record({.op = op,
                 .inputs = {logits},
                 .outputs = {loss},
                 .saved = {logits.value, targets, weights, lse},
                 .backward = [denominator](const Node& n, Grads& d) {
                   kernels::cross_entropy_backward({.dlogits = d.in[0],
                                                    .dloss = d.out[0],
                                                    .logits = n.saved[0],
                                                    .targets = n.saved[1],
                                                    .weights = n.saved[2],
                                                    .lse = n.saved[3],
                                                    .denominator = denominator});
                 }});
}

extern const OpRow cross_entropy_row;
const OpRow cross_entropy_row = {
    .op = Op::cross_entropy,
    .name = "cross_entropy",
    .example = [](Example& e) -> std::vector<Var> {
      // Row 2 has weight 0, and its target is not read; row 3 pushes its token away.
      const std::int64_t N = e.size(4), V = e.size(9);
      std::vector<double> weights(static_cast<std::size_t>(N), 0.75);
      std::vector<std::int64_t> targets;
      for (std::int64_t n = 0; n < N; ++n) targets.push_back(n == 2 ? -100 : (V - 1) * (n + 1) % V);
      if (N > 2) weights[2] = 0;
      if (N > 3) weights[3] = -0.5;
      return {cross_entropy(e.input({N, V}), e.integers(targets, {N}), e.numbers(weights, {N}), 2.5).loss};
    },
    .tolerance = 1e-8,
    .cost = moved_once_with_exp,
};

}  // namespace ov
