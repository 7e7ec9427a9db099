#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var view(const Var& x, const Shape& shape) {
  return record(
      {.op = Op::view, .inputs = {x}, .outputs = {x.value.view(shape)}, .backward = [](const Node& n, Grads& d) {
         d.in[0] = d.out[0].contiguous() ? d.out[0].view(n.input_shapes[0])
                                         : d.out[0].contiguous_copy().view(n.input_shapes[0]);
       }});
}

extern const OpRow view_row;
const OpRow view_row = {
    .op = Op::view,
    .name = "view",
    .example = [](Example& e) -> std::vector<Var> {
      return {gelu(view(e.input({4, 6}), {2, 12}))};
    },
    .tolerance = 1e-8,
    .cost = nothing_moved,
    .owners = {Owner::handed_over},
};

}  // namespace ov
