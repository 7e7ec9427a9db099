#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace ov {

Var linear(const Var& x, const Var& w, const Var& b, bool wide) {
  const auto [N, C] = x.value.dims<2>();
  const std::int64_t F = w.dim(0);
  const Tensor y({N, F}, wide ? accum_dtype(x.value.dtype()) : x.value.dtype(), x.value.device());
  kernels::gemm({.c = y, .a = x.value, .b = w.value, .trans_b = true, .bias = b.value});

  return record({.op = Op::linear,
                 .inputs = {x, w, b},
                 .outputs = {y},
                 .saved = {x.value, w.value},
                 .backward = [](const Node& n, Grads& d) {
                   const Tensor &x = n.saved[0], &w = n.saved[1];
                   // The operands of a product have one type: the gradient of wide scores is rounded here.
                   const Tensor dy = d.out[0].dtype() == x.dtype() ? d.out[0] : d.out[0].to(x.dtype());
                   if (d.in[0]) kernels::gemm({.c = d.in[0], .a = dy, .b = w});
                   if (d.in[1]) kernels::gemm({.c = d.in[1], .a = dy, .b = x, .trans_a = true, .accumulate = true});
                   if (d.in[2]) kernels::sum_rows({.sum = d.in[2], .x = dy});
                 }});
}

extern const OpRow linear_row;
const OpRow linear_row = {
    .op = Op::linear,
    .name = "linear",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t C = e.size(7), F = e.size(5);
      return {linear(e.input({e.size(4), C}), e.parameter({F, C}), e.parameter({F}))};
    },
    .tolerance = 1e-8,
    .cost =
        [](const Node& n) {
          const std::int64_t F = n.input_shapes[1][0], C = n.input_shapes[1][1], N = n.output_shapes[0][0],
                             one = N * C * F;
          Cost c = moved_once(n);
          c.products[0] = {Pass::forward, N, F, C, false, true, one};
          if (n.wanted[0]) c.products[1] = {Pass::backward, N, C, F, false, false, one};
          if (n.wanted[1]) c.products[2] = {Pass::backward, F, C, N, true, false, one};
          return c;
        },
    .owners = {Owner::fresh, Owner::added, Owner::added},
};

}  // namespace ov
