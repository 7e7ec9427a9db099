#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/rmsnorm.h"

namespace ov {

Var rms_norm(const Var& x, const Var& w, double eps) {
  const std::int64_t N = x.value.numel() / x.dim(-1);
  const Tensor y = Tensor::like(x.value), rstd({N}, accum_dtype(x.value.dtype()), x.value.device());
  kernels::rmsnorm_forward({.y = y, .rstd = rstd, .x = x.value, .w = w.value, .eps = eps});

  return record(
      {.op = Op::rms_norm,
       .inputs = {x, w},
       .outputs = {y},
       .saved = {x.value, w.value, rstd},
       .backward = [](const Node& n, Grads& d) {
         kernels::rmsnorm_backward(
             {.dx = d.in[0], .dw = d.in[1], .dy = d.out[0], .x = n.saved[0], .w = n.saved[1], .rstd = n.saved[2]});
       }});
}

extern const OpRow rms_norm_row;
const OpRow rms_norm_row = {
    .op = Op::rms_norm,
    .name = "rms_norm",
    .example = [](Example& e) -> std::vector<Var> {
      const std::int64_t C = e.size(7);
      return {rms_norm(e.input({e.size(5), C}), e.parameter({C}), 1e-6)};
    },
    .tolerance = 1e-8,
    .owners = {Owner::fresh, Owner::added},
};

}  // namespace ov
