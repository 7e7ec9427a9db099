#include "kernels/layernorm.h"

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var layer_norm(const Var& x, const Var& w, const Var& b, double eps) {
  const std::int64_t N = x.value.dims<2>()[0];
  const Tensor y = Tensor::like(x.value), mean({N}, accum_dtype(x.value.dtype()), x.value.device()),
               rstd = Tensor::like(mean);
  kernels::layernorm_forward(
      {.y = y, .mean = mean, .rstd = rstd, .x = x.value, .w = w.value, .b = b.value, .eps = eps});

  return record({.op = Op::layer_norm,
                 .inputs = {x, w, b},
                 .outputs = {y},
                 .saved = {x.value, w.value, mean, rstd},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::layernorm_backward({.dx = d.in[0],
                                                .dw = d.in[1],
                                                .db = d.in[2],
                                                .dy = d.out[0],
                                                .x = n.saved[0],
                                                .w = n.saved[1],
                                                .mean = n.saved[2],
                                                .rstd = n.saved[3]});
                 }});
}

extern const OpRow layer_norm_row;
const OpRow layer_norm_row = {
    .op = Op::layer_norm,
    .name = "layer_norm",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t C = e.size(7);
      return {layer_norm(e.input({e.size(5), C}), e.parameter({C}), e.parameter({C}), 1e-5)};
    },
    .tolerance = 1e-8,
    .owners = {Owner::fresh, Owner::added, Owner::added},
};

}  // namespace ov
