#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/experts.h"

namespace ov {

Var grouped_linear(const Var& x, const Var& w, const Tensor& offsets) {
  const std::int64_t experts = offsets.numel() - 1;
  const Tensor y({x.dim(0), w.dim(0) / experts}, x.value.dtype(), x.value.device());
  kernels::grouped_gemm({.c = y, .a = x.value, .b = w.value, .offsets = offsets, .trans_b = true});

  return record({.op = Op::grouped_linear,
                 .inputs = {x, w},
                 .outputs = {y},
                 .saved = {x.value, w.value, offsets},
                 .backward = [](const Node& n, Grads& d) {
                   const Tensor &x = n.saved[0], &w = n.saved[1], &offsets = n.saved[2], &dy = d.out[0];
                   if (d.in[0]) kernels::grouped_gemm({.c = d.in[0], .a = dy, .b = w, .offsets = offsets});
                   if (d.in[1])
                     kernels::grouped_gemm(
                         {.c = d.in[1], .a = dy, .b = x, .offsets = offsets, .trans_a = true, .accumulate = true});
                 }});
}

extern const OpRow grouped_linear_row;
const OpRow grouped_linear_row = {
    .op = Op::grouped_linear,
    .name = "grouped_linear",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t R = e.size(6), C = e.size(7), F = e.size(5);  // the second expert has no row
      return {grouped_linear(e.input({R, C}), e.parameter({3 * F, C}), e.integers({0, R / 3, R / 3, R}, {4}))};
    },
    .tolerance = 1e-8,
    .cost = grouped_linear_cost,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
