// The order in which the gradients of a step's micro-batches are added.
//
//   tree   a binary tree over the micro-batches: ranks that own aligned power-of-two ranges of them get the same bits
//     as one rank.
//          log2 M + 1 buffers
//   chain  one buffer, one after another; for real sizes. The bits depend on how the micro-batches are split over ranks
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// Adds leaves 0, 1, 2, ... as the tree over them: like a binary counter, equal subtrees are added as soon as both are
// there; what is left of an incomplete tree is added from the right.
class TreeSum {
 public:
  TreeSum(const Shape& shape, Dtype dtype, Device& device) : shape_(shape), dtype_(dtype), device_(&device) {}
  Tensor leaf();                 // unspecified contents, to be zeroed and filled by one thread and given back to add()
  void add(const Tensor& leaf);  // the next one, or the sum of an aligned power-of-two range (`leaves` of them)
  void add(const Tensor& sum, std::int64_t leaves);
  Tensor finish();  // the total; starts again from nothing

 private:
  struct Part {
    Tensor sum;
    std::int64_t leaves;
  };
  void merge_last_two();
  Shape shape_;
  Dtype dtype_;
  Device* device_;
  std::vector<Part> parts_;
  std::vector<Tensor> spare_;
};

}  // namespace ov
