// The RMS norm of a head's rows (kernels/rmsnorm.h) and their rotation (kernels/rope.h), in one pass over memory: what
// Qwen3 does to q and to k.
//
//   u = w (x r),  r_n = (mean_d x_nd² + eps)^-½      rounded to its type
//   y_j = u_j cos_j - u_{j+R} sin_j,  y_{j+R} = u_{j+R} cos_j + u_j sin_j        j < R = D/2
//
// Backward, with du = dy rotated by the opposite angle and rounded, g_d = du_d w_d:
//   dx_nd = r_n (g_nd - x_nd r_n² mean_d(g_nd x_nd)),  dw_d += Σ_n du_nd x_nd r_n
//
// Bits are those of rmsnorm and rope one after the other; u is not kept. x y dx dy [T,H,D] share a dtype, as does w
// [D]; rstd [T,H], dw [D], cos and sin [T,D/2] are f32 (f64 when x is f64). dx is overwritten, dw is added to; either
// may be null. The angles have no gradient here.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct NormRopeForward {
  Tensor y, rstd;
  Tensor x, w, cos, sin;
  double eps;
};
struct NormRopeBackward {
  Tensor dx, dw;
  Tensor dy, x, w, rstd, cos, sin;
};

void norm_rope_forward(const NormRopeForward&);
void norm_rope_backward(const NormRopeBackward&);

}  // namespace ov::kernels
