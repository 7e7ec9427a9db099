// RMS normalisation over the last axis (Zhang and Sennrich 2019), the norm of every Qwen3 block.
//
//   r_n  = (mean_c x_nc² + eps)^-½                     one number per row, saved for backward
//   y_nc = w_c (x_nc r_n)
//
// Backward, with g_nc = dy_nc w_c:
//   dx_nc = r_n (g_nc - x_nc r_n² mean_c(g_nc x_nc))
//   dw_c += Σ_n dy_nc x_nc r_n
//
// x y dx dy [N,C] share a dtype, as does w [C]; rstd [N] and dw [C] are f32 (f64 when x is f64).
// dx is overwritten, dw is added to; either may be null. The sum over n is a fixed tree: any thread count, same bits.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct RmsnormForward {
  Tensor y, rstd;
  Tensor x, w;
  double eps;
};
struct RmsnormBackward {
  Tensor dx, dw;
  Tensor dy, x, w, rstd;
};

void rmsnorm_forward(const RmsnormForward&);
void rmsnorm_backward(const RmsnormBackward&);

}  // namespace ov::kernels
