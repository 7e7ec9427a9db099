// Copies and fills, of strided tensors too, in every pair of element types.
//
//   copy   y_nc = x_nc, converted to y's type: f64 and f32 round to nearest, bf16 to nearest even; integers are cut
//   fill   y_nc = value
//
// x y [N,C]. Tensor::to(dtype), contiguous_copy, copy_from, fill and zero are these kernels.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct Copy {
  Tensor y;
  Tensor x;
};
struct Fill {
  Tensor y;
  double value;
};

void copy(const Copy&);
void fill(const Fill&);

}  // namespace ov::kernels
