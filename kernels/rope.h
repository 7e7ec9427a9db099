// Rotary position embedding (Su et al. 2021), rotate-half pairing (j, j + D/2): the form of Qwen3 and of RICE-ViT.
//
//   y_j       = x_j cos_j - x_{j+D/2} sin_j          j < D/2
//   y_{j+D/2} = x_{j+D/2} cos_j + x_j sin_j
// Backward is the rotation by the opposite angle, and for learned angles
//   dcos_tj = Σ_h dy_j x_j + dy_{j+D/2} x_{j+D/2}
//   dsin_tj = Σ_h dy_{j+D/2} x_j - dy_j x_{j+D/2}
//
// x y dx dy [T,H,D] of one dtype; cos sin dcos dsin [T,D/2] f32 (f64 when x is f64). All gradients are overwritten;
// each may be null.
//
// The tables. Angles of a 1-D position p: p ω_k, k < D/2. Angles of a patch at (row, column) of its image's grid:
// row ω_k, then column ω_k, k < D/4 (height first). A class token (row < 0) uses the learned class_angles
// [D/2] of the model's dtype as they are.
//   dclass_angles_j += Σ_{class rows} dsin cos - dcos sin
// positions [T] or [T,2] i64; inv_freq f32, rounded as PyTorch rounds it (inverse_frequencies below).
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct RopeForward {
  Tensor y;
  Tensor x, cos, sin;
};
struct RopeBackward {
  Tensor dx, dcos, dsin;
  Tensor dy, x, cos, sin;
};
struct RopeTable1d {
  Tensor cos, sin;
  Tensor positions, inv_freq;
};
struct RopeTable2dForward {
  Tensor cos, sin;
  Tensor positions, inv_freq, class_angles;
};
struct RopeTable2dBackward {
  Tensor dclass_angles;
  Tensor dcos, dsin, cos, sin, positions;
};

// input_error unless cos [T,D/2] has half the columns of x [T,H,D].
void check_rope_table(const char* op, const Tensor& x, const Tensor& cos);

void rope_forward(const RopeForward&);
void rope_backward(const RopeBackward&);
void rope_table_1d(const RopeTable1d&);
void rope_table_2d_forward(const RopeTable2dForward&);
void rope_table_2d_backward(const RopeTable2dBackward&);

// ω_k = f32(1 / f32(θ^f32(2k/dim))), k < dim/2: what torch computes in fp32, to one ulp. The exponent is rounded too,
// which shows when dim is no power of two.
std::vector<float> inverse_frequencies(std::int64_t dim, double theta);

}  // namespace ov::kernels
