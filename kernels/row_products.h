// Whether a row of y = x wᵀ may have other bits with other rows beside it.
//
// On the CPU it never has. A library's product on a GPU chooses the order of its sums by the number of rows, which is
// right for training. Generation promises that an answer's bits are those of its request alone (generate/engine.h): it
// asks for products whose sums do not depend on the rows beside, at some cost in speed.
#pragma once

namespace ov::kernels {

// While one lives, products that this thread queues have that property; gradients are not concerned.
class RowProducts {
 public:
  RowProducts();
  ~RowProducts();
  RowProducts(const RowProducts&) = delete;
  RowProducts& operator=(const RowProducts&) = delete;
  static bool wanted();
};

}  // namespace ov::kernels
