#include "train/gradient_sum.h"

#include "comm/ordered_sum.h"

namespace ov {

Tensor TreeSum::leaf() {
  if (spare_.empty()) return buffer_();
  const Tensor t = spare_.back();
  spare_.pop_back();
  return t;
}

void TreeSum::merge_last_two() {
  const Part right = parts_.back();
  parts_.pop_back();
  Part& left = parts_.back();
  if (planned_) planned_->push_back({left.sum, right.sum});
  else add_to(left.sum, right.sum);
  left.leaves += right.leaves;
  spare_.push_back(right.sum);
}

void TreeSum::add(const Tensor& leaf) { add(leaf, 1); }

void TreeSum::add(const Tensor& sum, std::int64_t leaves) {
  parts_.push_back({sum, leaves});
  while (parts_.size() > 1 && parts_[parts_.size() - 2].leaves == parts_.back().leaves) merge_last_two();
}

TreeSum::Planned TreeSum::plan(const std::vector<Tensor>& last) {
  Planned planned;
  planned_ = &planned.additions;
  for (const Tensor& leaf : last) add(leaf);
  planned.total = finish();
  planned_ = nullptr;
  return planned;
}

Tensor TreeSum::finish() {
  if (parts_.empty()) input_error("TreeSum: nothing was added");
  while (parts_.size() > 1) merge_last_two();
  const Tensor total = parts_.back().sum;
  parts_.clear();
  return total;
}

}  // namespace ov
