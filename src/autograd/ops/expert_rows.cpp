#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/experts.h"
#include "kernels/rows.h"

namespace ov {

Var expert_rows(const Var& x, const Tensor& tokens, const Tensor& slots) {
  const Tensor y({tokens.numel(), x.dim(1)}, x.value.dtype(), x.value.device());
  kernels::take_rows_forward({.y = y, .x = x.value, .index = tokens});

  return record(
      {.op = Op::expert_rows, .inputs = {x}, .outputs = {y}, .saved = {slots}, .backward = [](const Node& n, Grads& d) {
         kernels::combine_forward({.y = d.in[0], .x = d.out[0], .weights = {}, .slots = n.saved[0]});
       }});
}

extern const OpRow expert_rows_row;
const OpRow expert_rows_row = {
    .op = Op::expert_rows,
    .name = "expert_rows",
    .example = [](Example& e) -> std::vector<Var> {
      return {expert_rows(e.input({3, e.size(6)}), e.integers({2, 0, 1, 0, 1, 2}, {6}),
                          e.integers({1, 3, 2, 4, 0, 5}, {3, 2}))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
