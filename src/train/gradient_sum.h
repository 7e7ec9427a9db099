// The order in which the gradients of a step's micro-batches are added.
//
//   tree   a binary tree over the micro-batches: ranks that own aligned power-of-two ranges of them get the same bits
//          as one rank. At most log2 M + 1 buffers, and one more for every further micro-batch that runs side by side
//   chain  one buffer, one after another; for real sizes. The bits depend on how the micro-batches are split over ranks
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// Adds leaves 0, 1, 2, ... as the tree over them: like a binary counter, equal subtrees are added as soon as both are
// there; what is left of an incomplete tree is added from the right.
class TreeSum {
 public:
  explicit TreeSum(std::function<Tensor()> buffer) : buffer_(std::move(buffer)) {}  // makes one more
  // To be zeroed and filled by one thread, and given back to add(). *zeros: whether nothing but zeros is in it already.
  Tensor leaf(bool* zeros = nullptr);
  void add(const Tensor& leaf);  // the next one, or the sum of an aligned power-of-two range (`leaves` of them)
  // Several that are ready together. On the host all their additions are made over one range after another, and what
  // was added is zeroed there for the next step, while it is still in the cache.
  void add(const std::vector<Tensor>& leaves);
  void add(const Tensor& sum, std::int64_t leaves);
  Tensor finish();  // the total; starts again from nothing
  // The same of what is there and of `last`, the leaves that come last, but nothing is added: the caller makes the
  // additions to += of, in their order, over any ranges of the buffers, before it asks for another leaf().
  struct Addition {
    Tensor to, of;
  };
  struct Planned {
    Tensor total;
    std::vector<Addition> additions;
  };
  Planned plan(const std::vector<Tensor>& last);
  std::int64_t spare() const { return static_cast<std::int64_t>(spare_.size()); }  // buffers that leaf() has ready
  void reuse(Tensor buffer) {  // a total that is no longer needed, or null
    if (buffer) spare_.push_back({std::move(buffer), false});
  }

 private:
  struct Part {
    Tensor sum;
    std::int64_t leaves;
  };
  struct Spare {
    Tensor buffer;
    bool zeros;
  };
  void merge_last_two();
  std::function<Tensor()> buffer_;
  std::vector<Part> parts_;
  std::vector<Spare> spare_;
  std::vector<Addition>* planned_ = nullptr;  // where additions go instead of being made
};

}  // namespace ov
