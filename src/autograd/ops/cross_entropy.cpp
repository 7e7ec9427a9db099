#include "kernels/cross_entropy.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

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

  const Var out = record({.op = Op::cross_entropy,
                          .inputs = {logits},
                          .outputs = {loss},
                          .saved = {z, targets, weights, lse},
                          .backward = [denominator](const Node& n, Grads& d) {
                            kernels::cross_entropy_backward({.dlogits = d.in[0],
                                                             .dloss = d.out[0],
                                                             .logits = n.saved[0],
                                                             .targets = n.saved[1],
                                                             .weights = n.saved[2],
                                                             .lse = n.saved[3],
                                                             .denominator = denominator});
                          }});
  return {out, token_loss};
}

extern const OpRow cross_entropy_row;
const OpRow cross_entropy_row = {
    .op = Op::cross_entropy,
    .name = "cross_entropy",
    .example = [](Example& e) -> std::vector<Var> {
      const Tensor weights = e.constant({4});
      weights.data<double>()[2] = 0;  // its target is not read
      weights.data<double>()[3] = -0.7;
      return {cross_entropy(e.input({4, 9}), e.integers({8, 0, -100, 3}, {4}), weights, 2.5).loss};
    },
    .flops = [](const Node& n) { return 20 * n.input_shapes[0].numel(); },
    .tolerance = 1e-8,
};

}  // namespace ov
