#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var gelu(const Var& x, kernels::GeluForm form) {
  const Tensor y = Tensor::like(x.value);
  kernels::gelu_forward({.y = y, .x = x.value, .form = form});

  return record({.op = Op::gelu,
                 .inputs = {x},
                 .outputs = {y},
                 .saved = {x.value},
                 .form = static_cast<int>(form),
                 .backward = [form](const Node& n, Grads& d) {
                   kernels::gelu_backward({.dx = d.in[0], .dy = d.out[0], .x = n.saved[0], .form = form});
                 }});
}

extern const OpRow gelu_row;
const OpRow gelu_row = {
    .op = Op::gelu,
    .name = "gelu",
    .example = [](Example& e) -> std::vector<Var> {
      const Var x = e.input({e.size(5), e.size(7)});
      return {gelu(x), gelu(x, kernels::GeluForm::quick)};
    },
    .tolerance = 1e-8,
    .cost =
        [](const Node& n) {
          if (n.form == static_cast<int>(kernels::GeluForm::quick)) return moved_once_with_exp(n);
          Cost c = moved_once(n);
          c.forward_values.erf = n.input_shapes[0].numel();
          if (c.backward_bytes > 0) c.backward_values = {c.forward_values.erf, c.forward_values.erf};
          return c;
        },
};

}  // namespace ov
