#include "train/objectives/class_turn.h"

#include <algorithm>
#include <optional>

#include "comm/ordered_sum.h"
#include "tensor/read_back.h"
#include "train/gradient_sum.h"
#include "train/objectives/class_leaf.h"

namespace ov {

ClassBlocks blocks_of(const TurnTable& table, int ranks) {
  return {table.draws->classes(), static_cast<std::int64_t>(table.blocks->size()), ranks};
}

Tensor discriminate_in_turn(const ClassTurn& turn, const Tensor& directions, Tape& tape) {
  Communicator& ranks = turn.ranks;
  const int n = ranks.ranks(), self = ranks.rank();
  const Tensor& gradients = tape.gradients();
  Device& device = gradients.device();
  const Dtype wide = gradients.dtype();
  const std::int64_t D = directions.dim(1);

  // The leaves of the turn and their directions.
  const std::vector<std::int64_t> leaves = said_by_all(ranks, turn.leaf);
  Parts all;
  for (const std::int64_t leaf : leaves)
    all.emplace_back(Shape{leaf < 0 ? 0 : turn.regions_of_leaf[static_cast<std::size_t>(leaf)], D}, directions.dtype(),
                     device);
  all[static_cast<std::size_t>(self)] = directions;
  ranks.all_gather(all);

  // What this rank holds, by table and block: neighbours in the gradient buffer.
  std::vector<Parameter> held;
  for (const TurnTable& t : turn.tables) {
    const Range here = blocks_of(t, n).of_rank(self);
    for (std::int64_t b = here.begin; b < here.end; ++b) held.push_back(*(*t.blocks)[static_cast<std::size_t>(b)]);
  }
  const std::int64_t first = held.empty() ? 0 : held.front().gradient,
                     last = held.empty() ? 0 : held.back().gradient + held.back().value.numel();
  for (Parameter& p : held) p.gradient -= first;
  const Tensor to = gradients.slice(0, first, last);

  // A leaf's gradients are a leaf of the tree over the step, as one rank would add them.
  const bool apart = turn.tree && std::count_if(leaves.begin(), leaves.end(), [](auto leaf) { return leaf >= 0; }) > 1;
  TreeSum sum([&] { return Tensor({last - first}, wide, device, Segment::gradients); });
  std::vector<Parts> partial(turn.tables.size());
  Parts above;
  std::optional<LeafOfTurn> mine;
  for (int r = 0; r < n; ++r) {
    const auto at = static_cast<std::size_t>(r);
    for (Parts& p : partial) p.emplace_back(Shape{all[at].dim(0), D}, wide, device);
    above.emplace_back(Shape{0}, Dtype::i64, cpu());
    if (leaves[at] < 0) continue;
    const Tensor buffer = apart ? sum.leaf() : to;
    if (apart) buffer.zero();
    std::optional<LeafOfTurn> other;
    LeafOfTurn& leaf = (r == self ? mine : other).emplace(turn, leaves[at], r == self, all[at], held, buffer, tape);
    leaf.join();
    leaf.backward();
    above[at] = read_back(leaf.above());
    for (std::size_t t = 0; t < partial.size(); ++t)
      if (const Tensor g = leaf.directions_gradient(t)) partial[t][at] = g;
    if (apart) sum.add(buffer);
  }
  if (apart) to.copy_from(sum.finish());

  // Back to their ranks: of every table the sum over blocks, then one over tables.
  Tensor total;
  for (std::size_t t = 0; t < partial.size(); ++t) {
    const Tensor own = partial[t][static_cast<std::size_t>(self)];
    ranks.reduce_scatter(own, partial[t], blocks_of(turn.tables[t], n).holders());
    if (!total) total = own;
    else if (own.numel() > 0) add_to(total, own);
  }
  const Tensor counted = above[static_cast<std::size_t>(self)];
  ranks.reduce_scatter(counted, above, n);
  if (mine) mine->report_hits(counted.to_vector<std::int64_t>());
  return total ? total.to(directions.dtype()) : Tensor::zeros(directions.shape(), directions.dtype(), device);
}

}  // namespace ov
