#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rows.h"

namespace ov {

Var insert_class_tokens(const Var& x, const Var& class_vector, const Tensor& first_row) {
  const Tensor y({x.dim(0) + first_row.numel(), x.dim(1)}, x.value.dtype(), x.value.device());
  kernels::insert_class_tokens_forward(
      {.y = y, .x = x.value, .class_vector = class_vector.value, .first_row = first_row});

  return record({.op = Op::insert_class_tokens,
                 .inputs = {x, class_vector},
                 .outputs = {y},
                 .saved = {first_row},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::insert_class_tokens_backward(
                       {.dx = d.in[0], .dclass_vector = d.in[1], .dy = d.out[0], .first_row = n.saved[0]});
                 }});
}

extern const OpRow insert_class_tokens_row;
const OpRow insert_class_tokens_row = {
    .op = Op::insert_class_tokens,
    .name = "insert_class_tokens",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t C = e.size(6);
      return {insert_class_tokens(e.input({5, C}), e.parameter({C}), e.integers({0, 4}, {2}))};
    },
    .tolerance = 1e-8,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
