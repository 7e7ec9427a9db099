#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/experts.h"

namespace ov {

Var combine_experts(const Var& x, const Var& weights, const Tensor& slots) {
  const Tensor y({slots.dim(0), x.dim(1)}, x.value.dtype(), x.value.device());
  kernels::combine_forward({.y = y, .x = x.value, .weights = weights.value, .slots = slots});

  return record({.op = Op::combine_experts,
                 .inputs = {x, weights},
                 .outputs = {y},
                 .saved = {x.value, weights.value, slots},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::combine_backward({.dx = d.in[0],
                                              .dweights = d.in[1],
                                              .dy = d.out[0],
                                              .x = n.saved[0],
                                              .weights = n.saved[1],
                                              .slots = n.saved[2]});
                 }});
}

extern const OpRow combine_experts_row;
const OpRow combine_experts_row = {
    .op = Op::combine_experts,
    .name = "combine_experts",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t T = e.size(3);
      std::vector<std::int64_t> slots;
      for (std::int64_t t = 0; t < T; ++t) slots.push_back(t), slots.push_back(2 * T - 1 - t);
      return {combine_experts(e.input({2 * T, e.size(6)}), e.wide_input({T, 2}), e.integers(slots, {T, 2}))};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
