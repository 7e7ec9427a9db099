#include "train/gradient_sum.h"

#include "kernels/rows.h"

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
  // Rows for the kernel's threads, and what is left behind them; addition does not see them.
  constexpr std::int64_t width = 4096;
  const std::int64_t n = left.sum.numel(), whole = n / width * width;
  const auto add_part = [&](std::int64_t begin, std::int64_t end, const Shape& rows) {
    if (begin == end) return;
    const Tensor to = left.sum.flat().slice(0, begin, end).view(rows);
    kernels::add({.y = to, .a = to, .b = right.sum.flat().slice(0, begin, end).view(rows)});
  };
  add_part(0, whole, {whole / width, width});
  add_part(whole, n, {1, n - whole});
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
