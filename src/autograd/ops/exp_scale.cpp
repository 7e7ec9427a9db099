#include "kernels/exp_scale.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var exp_scale(const Var& x, const Var& s) {
  const Tensor y = Tensor::like(x.value);
  kernels::exp_scale_forward({.y = y, .x = x.value, .s = s.value});

  return record({.op = Op::exp_scale,
                 .inputs = {x, s},
                 .outputs = {y},
                 .saved = {x.value, s.value},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::exp_scale_backward(
                       {.dx = d.in[0], .ds = d.in[1], .dy = d.out[0], .x = n.saved[0], .s = n.saved[1]});
                 }});
}

extern const OpRow exp_scale_row;
const OpRow exp_scale_row = {
    .op = Op::exp_scale,
    .name = "exp_scale",
    .example = [](Example& e) -> std::vector<Var> {
      return {exp_scale(e.input({e.size(5), e.size(7)}), e.parameter({}))};
    },
    .tolerance = 1e-8,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
