// A residual sum and the RMS norm that reads it (kernels/rmsnorm.h), in one pass over memory: the bytes decide.
//
//   h_nc = a_nc + b_nc            rounded to its type
//   y_nc = w_c (h_nc r_n),  r_n = (mean_c h_nc² + eps)^-½
//
// Backward, where dh came to h past the norm:
//   dx_nc = dh_nc + r_n (g_nc - h_nc r_n² mean_c(g_nc h_nc)),  g_nc = dy_nc w_c
// which is the gradient of a and of b; its second term is rounded to h's type first. dw is rmsnorm_backward's.
//
// Bits are those of add, rmsnorm_forward, rmsnorm_backward and add. a b h y dy [N,C] share a dtype, as does w [C]; rstd
// [N] and dx are f32 (f64 when h is f64), dh is of either. dx is overwritten.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct AddRmsnormForward {
  Tensor h, y, rstd;
  Tensor a, b, w;
  double eps;
};
struct AddRmsnormBackward {
  Tensor dx;
  Tensor dh, dy, h, w, rstd;
};

void add_rmsnorm_forward(const AddRmsnormForward&);
void add_rmsnorm_backward(const AddRmsnormBackward&);

}  // namespace ov::kernels
