#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

Var take_rows(const Var& x, const Tensor& index) {
  const Tensor y({index.numel(), x.dim(-1)}, x.value.dtype(), x.value.device());
  kernels::take_rows_forward({.y = y, .x = x.value, .index = index});

  return record(
      {.op = Op::take_rows, .inputs = {x}, .outputs = {y}, .saved = {index}, .backward = [](const Node& n, Grads& d) {
         kernels::take_rows_backward({.dx = d.in[0], .dy = d.out[0], .index = n.saved[0]});
       }});
}

extern const OpRow take_rows_row;
const OpRow take_rows_row = {
    .op = Op::take_rows,
    .name = "take_rows",
    .example = [](Example& e) -> std::vector<Var> {
      return {take_rows(e.input({5, e.size(6)}), e.integers({4, 0, 2}, {3}))};
    },
    .tolerance = 1e-8,
    .cost = moved_rows,
};

}  // namespace ov
