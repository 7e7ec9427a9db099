#include "train/gradient_sum.h"

#include "kernels/rows.h"

namespace ov {

Tensor TreeSum::leaf() {
  Tensor t;
  if (spare_.empty()) {
    t = Tensor(shape_, dtype_, *device_, Segment::gradients);
  } else {
    t = spare_.back();
    spare_.pop_back();
  }
  t.zero();
  return t;
}

void TreeSum::merge_last_two() {
  const Part right = parts_.back();
  parts_.pop_back();
  Part& left = parts_.back();
  const std::int64_t n = left.sum.numel();
  const std::int64_t width = n % 4096 == 0 ? 4096 : 1;  // rows for the kernel's threads; addition does not see them
  const Shape rows = width > 1 ? Shape{n / width, width} : Shape{1, n};
  kernels::add({.y = left.sum.view(rows), .a = left.sum.view(rows), .b = right.sum.view(rows)});
  left.leaves += right.leaves;
  spare_.push_back(right.sum);
}

void TreeSum::add(const Tensor& leaf) { add(leaf, 1); }

void TreeSum::add(const Tensor& sum, std::int64_t leaves) {
  parts_.push_back({sum, leaves});
  while (parts_.size() > 1 && parts_[parts_.size() - 2].leaves == parts_.back().leaves) merge_last_two();
}

Tensor TreeSum::finish() {
  if (parts_.empty()) input_error("TreeSum: nothing was added");
  while (parts_.size() > 1) merge_last_two();
  const Tensor total = parts_.back().sum;
  parts_.clear();
  return total;
}

}  // namespace ov
