// From cosines to the logits of margin-based classification: the positives of a row are made harder by a margin.
//
//   c = min(max(cos_rs, -1), 1)
//   negative                             z = scale c;  0 (not -∞) where filter_above > 0 and c > filter_above
//   positive, cosface                    z = scale (c - m)                                    (Wang et al. 2018)
//   positive, arcface                    z = scale cos(arccos c + m) = scale (c cos m - √(1 - c²) sin m)
//                                                                                             (Deng et al. 2019)
//   positive, arcface_straight_through   the same z
// Backward, with ε the rounding step of the dtype:
//   dcos = scale dz                      0 where the filter cut
//   positive, arcface                    scale dz (cos m + c sin m / √max(1 - c², ε)),  which is sin(θ + m) / sin θ
//   positive, arcface_straight_through   scale dz: the public code edits the logits outside of autograd
// At c = ±1 the factor of arcface is infinite while dc/dregion is 0; ε keeps their product 0. Clamping repairs
// rounding and passes the gradient.
//
// The filter is the public code's "interclass filtering"; 0 turns it off, as in the paper.
//
// roles [R,S] u8 says what class s is to row r: 0 nothing, 1 a negative, 1 + n a positive that counts n times (a
// string's repeated token). cos z dcos dz [R,S] share a dtype; z and dcos are overwritten.
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace ov::kernels {

enum class Margin { cosface, arcface, arcface_straight_through };

namespace role {
constexpr std::uint8_t none = 0, negative = 1, positive = 2, most = 255;
}

struct MarginLogitsForward {
  Tensor z;
  Tensor cos, roles;
  Margin margin;
  double scale, m, filter_above;
};
struct MarginLogitsBackward {
  Tensor dcos;
  Tensor dz, cos, roles;
  Margin margin;
  double scale, m, filter_above;
};

void margin_logits_forward(const MarginLogitsForward&);
void margin_logits_backward(const MarginLogitsBackward&);

}  // namespace ov::kernels
