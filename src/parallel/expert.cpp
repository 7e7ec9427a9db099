#include "parallel/expert.h"

#include <numeric>

#include "autograd/ops/grouped_linear_by_leaf.h"

namespace ov {
namespace {

// Of each rank's leaf, how many rows chose each of this rank's experts; and whether there is a leaf.
struct Counts {
  std::vector<std::vector<std::int64_t>> rows;
  std::vector<bool> leaf;
};

Counts exchanged(const std::vector<std::int64_t>& rows_of_expert, bool leaf, Communicator& ranks) {
  const auto n = static_cast<std::size_t>(ranks.ranks());
  const std::size_t each = rows_of_expert.size() / n;
  std::vector<std::int64_t> said;
  for (std::size_t r = 0; r < n; ++r) {
    said.push_back(leaf);
    for (std::size_t e = 0; e < each; ++e) said.push_back(rows_of_expert[r * each + e]);
  }
  const Shape shape{static_cast<std::int64_t>(n), static_cast<std::int64_t>(each) + 1};
  const Tensor heard(shape, Dtype::i64, cpu(), Segment::workspace);
  ranks.all_to_all(heard, Tensor::of(said, shape));
  Counts counts;
  const auto all = heard.to_vector<std::int64_t>();
  for (std::size_t r = 0; r < n; ++r) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(r * (each + 1));
    counts.leaf.push_back(*first != 0);
    counts.rows.emplace_back(first + 1, first + 1 + static_cast<std::ptrdiff_t>(each));
  }
  return counts;
}

}  // namespace

Var ExpertParallelMoe::shared(const Var& u_RC, const std::vector<std::int64_t>& rows_of_expert, bool leaf) const {
  const Counts counts = exchanged(rows_of_expert, leaf, *ranks);
  const auto n = static_cast<std::size_t>(ranks->ranks());
  const auto each = static_cast<std::ptrdiff_t>(rows_of_expert.size() / n);
  RowCounts go, come;
  std::vector<LeafRows> leaves;
  for (std::size_t r = 0; r < n; ++r) {
    const auto first = rows_of_expert.begin() + static_cast<std::ptrdiff_t>(r) * each;
    go.push_back(std::accumulate(first, first + each, std::int64_t{0}));
    std::vector<std::int64_t> offsets = {0};
    for (const std::int64_t rows : counts.rows[r]) offsets.push_back(offsets.back() + rows);
    come.push_back(offsets.back());
    leaves.push_back({come[r], Tensor::of(offsets, {each + 1}, u_RC.value.device()), counts.leaf[r]});
  }
  const std::int64_t F = shape.intermediate;
  const Var v = all_to_all_rows(u_RC, go, come, *ranks);
  const auto gate_up = split(grouped_linear_by_leaf(v, on_tape_of(v, gate_up_w), leaves), {{F}, {F}});
  const Var inner = swiglu(gate_up[0], gate_up[1]);
  return all_to_all_rows(grouped_linear_by_leaf(inner, on_tape_of(v, down_w), leaves), come, go, *ranks);
}

Var ExpertParallelMoe::through_experts(const Var& u_RC, const Tensor& offsets) const {
  return shared(u_RC, rows_by_expert(offsets, u_RC.dim(0)), true);
}

Var ExpertParallelMoe::serve(const Var& nothing, bool leaf) const {
  return shared(nothing, std::vector<std::int64_t>(static_cast<std::size_t>(shape.experts)), leaf);
}

std::vector<std::int64_t> even_rows(std::int64_t rows, std::int64_t experts) {
  std::vector<std::int64_t> even;
  for (std::int64_t e = 0; e < experts; ++e) even.push_back(rows / experts + (e < rows % experts));
  return even;
}

std::vector<std::int64_t> rows_by_expert(const Tensor& offsets, std::int64_t rows) {
  if (!offsets.has_data()) return even_rows(rows, offsets.numel() - 1);
  const auto ends = offsets.to_vector<std::int64_t>();
  std::vector<std::int64_t> by_expert;
  for (std::size_t e = 0; e + 1 < ends.size(); ++e) by_expert.push_back(ends[e + 1] - ends[e]);
  return by_expert;
}

std::int64_t turns_of(const Parameters& parameters, std::int64_t leaves) {
  const std::int64_t n = parameters.experts().ranks();
  return (leaves + n - 1) / n;
}

void sum_but_experts(const Parameters& parameters, const Tensor& gradients, int adding) {
  Communicator& ranks = parameters.experts();
  if (ranks.ranks() == 1) return;
  const auto sum = [&](Range all) {
    Parts parts;
    for (std::int64_t r = 0; r < ranks.ranks(); ++r)
      parts.push_back(gradients.slice(0, all.begin + all.size() * r / ranks.ranks(),
                                      all.begin + all.size() * (r + 1) / ranks.ranks()));
    ranks.reduce_scatter(parts[static_cast<std::size_t>(ranks.rank())], parts, adding);
    ranks.all_gather(parts);
  };
  Range stretch;
  for (const auto& e : parameters.entries()) {
    if (!e.parameter.trainable || e.expert_holder >= 0) continue;
    const Range next{e.parameter.gradient, e.parameter.gradient + e.shape.numel()};
    if (stretch.end != next.begin) {
      if (stretch.size() > 0) sum(stretch);
      stretch.begin = next.begin;
    }
    stretch.end = next.end;
  }
  if (stretch.size() > 0) sum(stretch);
}

}  // namespace ov
