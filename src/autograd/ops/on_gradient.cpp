#include "autograd/ops/on_gradient.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var on_gradient(const Var& x, std::function<void()> come) {
  return record({.op = Op::on_gradient,
                 .inputs = {x},
                 .outputs = {x.value},
                 .backward = [come = std::move(come)](const Node&, Grads& d) {
                   come();
                   d.in[0] = d.out[0];
                 }});
}

extern const OpRow on_gradient_row;
const OpRow on_gradient_row = {
    .op = Op::on_gradient,
    .name = "on_gradient",
    .example = [](Example& e) -> std::vector<Var> {
      const Var x = e.input({3, 4});
      return {add(gelu(on_gradient(x, [] {})), x)};
    },
    .tolerance = 1e-8,
    .cost = nothing_moved,
    .owners = {Owner::handed_over},
};

}  // namespace ov
