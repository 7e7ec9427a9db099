#include "kernels/swiglu.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var swiglu(const Var& gate, const Var& up) {
  const Tensor y = Tensor::like(gate.value);
  kernels::swiglu_forward({.y = y, .gate = gate.value, .up = up.value});

  return record({.op = Op::swiglu,
                 .inputs = {gate, up},
                 .outputs = {y},
                 .saved = {gate.value, up.value},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::swiglu_backward(
                       {.dgate = d.in[0], .dup = d.in[1], .dy = d.out[0], .gate = n.saved[0], .up = n.saved[1]});
                 }});
}

extern const OpRow swiglu_row;
const OpRow swiglu_row = {
    .op = Op::swiglu,
    .name = "swiglu",
    .example = [](Example& e) -> std::vector<Var> {
      const Shape shape{e.size(5), e.size(7)};
      return {swiglu(e.input(shape), e.input(shape))};
    },
    .tolerance = 1e-8,
    .cost = moved_once_with_exp,
};

}  // namespace ov
