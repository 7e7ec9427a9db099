#include "kernels/norm_rope.h"

#include <cmath>

#include "autograd/ops.h"
#include "autograd/registry.h"

namespace ov {

Var norm_rope(const Var& x, const Var& w, double eps, const RopeTable& table) {
  const Tensor y = Tensor::like(x.value), rstd({x.dim(0), x.dim(1)}, accum_dtype(x.value.dtype()), x.value.device());
  const Tensor &cos = table.cos.value, &sin = table.sin.value;
  kernels::norm_rope_forward({.y = y, .rstd = rstd, .x = x.value, .w = w.value, .cos = cos, .sin = sin, .eps = eps});

  return record({.op = Op::norm_rope,
                 .inputs = {x, w},
                 .outputs = {y},
                 .saved = {x.value, w.value, rstd, cos, sin},
                 .backward = [](const Node& n, Grads& d) {
                   kernels::norm_rope_backward({.dx = d.in[0],
                                                .dw = d.in[1],
                                                .dy = d.out[0],
                                                .x = n.saved[0],
                                                .w = n.saved[1],
                                                .rstd = n.saved[2],
                                                .cos = n.saved[3],
                                                .sin = n.saved[4]});
                 }});
}

extern const OpRow norm_rope_row;
const OpRow norm_rope_row = {
    .op = Op::norm_rope,
    .name = "norm_rope",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t T = e.size(5), R = e.size(3);
      std::vector<double> cos, sin;
      for (std::int64_t i = 0; i < T * R; ++i)
        cos.push_back(std::cos(0.7 * double(i))), sin.push_back(std::sin(0.7 * double(i)));
      const RopeTable table{{e.numbers(cos, {T, R})}, {e.numbers(sin, {T, R})}};
      return {norm_rope(e.input({T, 2, 2 * R}), e.parameter({2 * R}), 1e-6, table)};
    },
    .tolerance = 1e-8,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
