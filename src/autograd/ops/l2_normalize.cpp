#include "kernels/l2_normalize.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var l2_normalize(const Var& x) {
  const Tensor y = Tensor::like(x.value), rnorm({x.value.dims<2>()[0]}, accum_dtype(x.value.dtype()), x.value.device());
  kernels::l2_normalize_forward({.y = y, .rnorm = rnorm, .x = x.value});

  return record({.op = Op::l2_normalize,
                 .inputs = {x},
                 .outputs = {y},
                 .saved = {y, rnorm},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::l2_normalize_backward(
                       {.dx = d.in[0], .dy = d.out[0], .y = n.saved[0], .rnorm = n.saved[1]});
                 }});
}

extern const OpRow l2_normalize_row;
const OpRow l2_normalize_row = {
    .op = Op::l2_normalize,
    .name = "l2_normalize",
    .example = [](Example& e) -> std::vector<Var> {
      return {l2_normalize(e.input({e.size(5), e.size(7)}))};
    },
    .tolerance = 1e-8,
};

}  // namespace ov
