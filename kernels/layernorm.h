// Layer normalisation over the last axis (Ba, Kiros, Hinton 2016), biased variance; the norm of the vision tower.
//
//   m_n = mean_c x_nc,  r_n = (mean_c (x_nc - m_n)² + eps)^-½        saved for backward
//   y_nc = (x_nc - m_n) r_n w_c + b_c
//
// Backward, with h_nc = (x_nc - m_n) r_n and g_nc = dy_nc w_c:
//   dx_nc = r_n (g_nc - mean_c g_nc - h_nc mean_c(g_nc h_nc))
//   dw_c += Σ_n dy_nc h_nc,   db_c += Σ_n dy_nc
//
// x y dx dy [N,C], w b [C] share a dtype; mean rstd [N] and dw db [C] are f32 (f64 when x is f64).
// dx is overwritten, dw and db are added to; each may be null.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct LayernormForward {
  Tensor y, mean, rstd;
  Tensor x, w, b;
  double eps;
};
struct LayernormBackward {
  Tensor dx, dw, db;
  Tensor dy, x, w, mean, rstd;
};

void layernorm_forward(const LayernormForward&);
void layernorm_backward(const LayernormBackward&);

}  // namespace ov::kernels
