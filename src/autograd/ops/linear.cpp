#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace ov {

Var linear(const Var& x, const Var& w, const Var& b) {
  const auto [N, C] = x.value.dims<2>();
  const std::int64_t F = w.dim(0);
  const Tensor y({N, F}, x.value.dtype(), x.value.device());
  kernels::gemm({.c = y, .a = x.value, .b = w.value, .trans_b = true, .bias = b.value});

  return record({.op = Op::linear,
                 .inputs = {x, w, b},
                 .outputs = {y},
                 .saved = {x.value, w.value},
                 .products = N * C * F,
                 .backward = [](const Node& n, Grads& d) {
                   const Tensor &x = n.saved[0], &w = n.saved[1], &dy = d.out[0];
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
    .flops = [](const Node& n) { return 2 * n.products; },
    .tolerance = 1e-8,
    .adds = 0b110,
};

}  // namespace ov
