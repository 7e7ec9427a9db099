// A factor, and with it dropout (Srivastava et al. 2014), in the form that scales what is kept:
//
//   y_nc = factor x_nc   where u_nc >= share, else 0;   u_nc in [0, 1): element first + n C + c of `random`
//
// Linear in x, so that backward is the same of dy. With share 0 nothing is drawn.
// x and y [N,C] share a dtype; the product is of the accumulation type and rounded once.
#pragma once
#include "base/rng.h"
#include "tensor/tensor.h"

namespace ov::kernels {

struct Dropout {
  Tensor y;
  Tensor x;
  double factor = 1, share = 0;
  Philox random = Philox(0, "dropout");
  std::uint64_t first = 0;
};

void dropout(const Dropout&);

// Whether an element is kept, by its 32 random bits.
OV_HD constexpr bool dropout_keeps(std::uint32_t bits, float share) {
  return static_cast<float>(bits >> 8) * 0x1p-24f >= share;
}

}  // namespace ov::kernels
