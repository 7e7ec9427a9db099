#include "train/gradient_sum.h"

#include <algorithm>

#include "base/parallel.h"
#include "comm/ordered_sum.h"

namespace ov {

namespace {

constexpr std::int64_t stretch = 16384;  // elements: 64 KB of f32 in each buffer

void add_and_zero(const std::vector<TreeSum::Addition>& additions) {
  const std::int64_t numel = additions.front().to.numel();
  parallel_for((numel + stretch - 1) / stretch, [&](std::int64_t i) {
    const std::int64_t begin = i * stretch, end = std::min(numel, begin + stretch);
    for (const TreeSum::Addition& a : additions) {
      const Tensor of = a.of.slice(0, begin, end);
      add_to(a.to.slice(0, begin, end), of);
      of.zero();
    }
  });
}

}  // namespace

Tensor TreeSum::leaf(bool* zeros) {
  const Spare s = spare_.empty() ? Spare{buffer_(), false} : spare_.back();
  if (!spare_.empty()) spare_.pop_back();
  if (zeros) *zeros = s.zeros;
  return s.buffer;
}

void TreeSum::merge_last_two() {
  const Part right = parts_.back();
  parts_.pop_back();
  Part& left = parts_.back();
  if (planned_) planned_->push_back({left.sum, right.sum});
  else add_to(left.sum, right.sum);
  left.leaves += right.leaves;
  spare_.push_back({right.sum, false});
}

void TreeSum::add(const Tensor& leaf) { add(leaf, 1); }

void TreeSum::add(const Tensor& sum, std::int64_t leaves) {
  parts_.push_back({sum, leaves});
  while (parts_.size() > 1 && parts_[parts_.size() - 2].leaves == parts_.back().leaves) merge_last_two();
}

void TreeSum::add(const std::vector<Tensor>& leaves) {
  std::vector<Addition> additions;
  planned_ = &additions;
  for (const Tensor& leaf : leaves) add(leaf);
  planned_ = nullptr;
  if (additions.empty()) return;
  if (!additions.front().to.device().on_host()) {
    for (const Addition& a : additions) add_to(a.to, a.of);
    return;
  }
  add_and_zero(additions);
  // Each of them has become a spare one, in this order and last.
  for (auto s = spare_.end() - std::ssize(additions); s != spare_.end(); ++s) s->zeros = true;
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
