#include "autograd/ops.h"
#include "autograd/registry.h"
#include "kernels/add_rmsnorm.h"
#include "kernels/rmsnorm.h"

namespace ov {

AddRmsNorm add_rms_norm(const Var& a, const Var& b, const Var& w, double eps) {
  const std::int64_t N = a.value.numel() / a.dim(-1);
  const Tensor h = Tensor::like(a.value), y = Tensor::like(a.value),
               rstd({N}, accum_dtype(a.value.dtype()), a.value.device());
  kernels::add_rmsnorm_forward({.h = h, .y = y, .rstd = rstd, .a = a.value, .b = b.value, .w = w.value, .eps = eps});

  const auto out = record_all(
      {.op = Op::add_rms_norm,
       .inputs = {a, b, w},
       .outputs = {h, y},
       .saved = {h, w.value, rstd},
       .backward = [](const Node& n, Grads& d) {
         const Tensor &h = n.saved[0], &w = n.saved[1], &rstd = n.saved[2];
         const bool below = n.wanted[0] || n.wanted[1];
         Tensor dx = d.out[0];  // what came to h past the norm, in the type that it was summed in
         if (d.out[1]) {
           const Tensor dy = d.out[1].dtype() == h.dtype() ? d.out[1] : d.out[1].to(h.dtype());
           const bool past = below && dx;
           if (past) {
             const Tensor sum(h.shape(), rstd.dtype(), h.device());
             kernels::add_rmsnorm_backward({.dx = sum, .dh = dx, .dy = dy, .h = h, .w = w, .rstd = rstd});
             dx = sum;
           } else if (below) {
             dx = Tensor::like(h);
           }
           if ((below && !past) || d.in[2])
             kernels::rmsnorm_backward(
                 {.dx = past || !below ? Tensor() : dx, .dw = d.in[2], .dy = dy, .x = h, .w = w, .rstd = rstd});
         }
         for (std::size_t i = 0; i < 2; ++i)
           if (n.wanted[i]) d.in[i] = dx;
       }});
  return {out[0], out[1]};
}

extern const OpRow add_rms_norm_row;
const OpRow add_rms_norm_row = {
    .op = Op::add_rms_norm,
    .name = "add_rms_norm",
    .example = [](Example& e) -> std::vector<Var> {
      const Shape shape{e.size(5), e.size(7)};
      const Var a = e.input(shape), b = e.input(shape);
      const AddRmsNorm n = add_rms_norm(a, b, e.parameter({shape[1]}), 1e-6);
      return {n.h, n.y};
    },
    .tolerance = 1e-8,
    .cost =
        [](const Node& n) {
          Cost c = moved_once(n);
          if (n.wanted[0] && n.wanted[1])  // one gradient, handed over to both
            c.backward_bytes -= n.input_shapes[0].numel() * static_cast<std::int64_t>(size_of(n.dtype));
          return c;
        },
    .owners = {Owner::handed_over, Owner::handed_over, Owner::added},
};

}  // namespace ov
