#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/experts.h"
#include "kernels/router.h"

namespace ov {

Tensor expert_counts(const std::vector<Tensor>& offsets) {
  const Tensor& first = offsets.at(0);
  const Tensor counts = Tensor::zeros({first.numel() - 1}, Dtype::i64, first.device());
  for (const Tensor& o : offsets) kernels::expert_counts({.counts = counts, .offsets = o});
  return counts;
}

Var load_balance_loss(const std::vector<Var>& probabilities, const Tensor& counts, double factor) {
  const Tensor& first = probabilities.at(0).value;
  const Tensor loss = Tensor::zeros({1}, first.dtype(), first.device());
  for (const Var& p : probabilities)
    kernels::load_balance_forward({.loss = loss, .probabilities = p.value, .counts = counts, .factor = factor});

  return record({.op = Op::load_balance_loss,
                 .inputs = probabilities,
                 .outputs = {loss},
                 .saved = {counts},
                 .backward = [factor](const Node& n, Grads& d) {
                   for (const Tensor& dp : d.in)
                     if (dp)
                       kernels::load_balance_backward(
                           {.dprobabilities = dp, .dloss = d.out[0], .counts = n.saved[0], .factor = factor});
                 }});
}

extern const OpRow load_balance_loss_row;
const OpRow load_balance_loss_row = {
    .op = Op::load_balance_loss,
    .name = "load_balance_loss",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t E = e.size(5);
      std::vector<std::int64_t> counts;
      for (std::int64_t i = 0; i < E; ++i) counts.push_back(3 * i % 7);
      return {load_balance_loss({e.wide_input({e.size(4), E}), e.wide_input({3, E})}, e.integers(counts, {E}),
                                0.3 / static_cast<double>(E))};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
