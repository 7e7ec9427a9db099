#include "kernels/gelu.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var gelu(const Var& x) {
  const Tensor y = Tensor::like(x.value);
  kernels::gelu_forward({.y = y, .x = x.value});

  return record(
      {.op = Op::gelu, .inputs = {x}, .outputs = {y}, .saved = {x.value}, .backward = [](const Node& n, Grads& d) {
         kernels::gelu_backward({.dx = d.in[0], .dy = d.out[0], .x = n.saved[0]});
       }});
}

extern const OpRow gelu_row;
const OpRow gelu_row = {
    .op = Op::gelu,
    .name = "gelu",
    .example = [](Example& e) -> std::vector<Var> {
      return {gelu(e.input({e.size(5), e.size(7)}))};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
