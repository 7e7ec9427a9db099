#include "train/objectives/class_leaf.h"

#include <algorithm>

#include "comm/ordered_sum.h"
#include "kernels/cluster_loss.h"
#include "kernels/copy.h"
#include "kernels/cross_entropy.h"
#include "kernels/rows.h"
#include "tensor/read_back.h"

namespace ov {
namespace {

Tensor ids(const LeafOfTurn::Ids& values, Device& device) {
  return Tensor::of(values, {static_cast<std::int64_t>(values.size())}, device);
}

}  // namespace

LeafOfTurn::LeafOfTurn(const ClassTurn& turn, std::int64_t leaf, bool own, const Tensor& directions,
                       std::vector<Parameter>& held, const Tensor& gradients, Tape& tape)
    : turn_(turn), leaf_(static_cast<std::size_t>(leaf)), own_(own), held_(held), head_(gradients), tape_(tape) {
  tape.lead(head_);
  std::size_t next = 0;
  for (std::size_t t = 0; t < turn.tables.size(); ++t) {
    const TurnTable& table = turn.tables[t];
    const ClassBlocks blocks = blocks_of(table, turn.ranks.ranks());
    const Range here = blocks.of_rank(turn.ranks.rank());
    inputs_.emplace_back();
    for (std::int64_t b = here.begin; b < here.end; ++b) inputs_[t].push_back(head_.input(directions, true));
    if (directions.dim(0) > 0)
      for (std::size_t d = 0; d < table.draws->draws().size(); ++d) record(t, d, blocks, here, next);
    next += static_cast<std::size_t>(here.size());
  }
}

void LeafOfTurn::record(std::size_t t, std::size_t number, const ClassBlocks& blocks, Range here, std::size_t held) {
  const TurnTable& table = turn_.tables[t];
  const ClassDraws::Draw& whole = table.draws->draws()[number];
  Draw d{.table = t, .number = number, .blocks = blocks};
  for (const LabelledRow& row : (*table.rows)[leaf_])
    if (table.draws->all() || row.draw == static_cast<std::int64_t>(number)) d.rows.push_back(&row);
  if (d.rows.empty()) return;
  const auto place = [&](std::int64_t label) {
    return std::lower_bound(whole.classes.begin(), whole.classes.end(), label) - whole.classes.begin();
  };
  Ids region;
  std::vector<double> weight;
  for (std::int64_t r = 0; r < d.R(); ++r) {
    const LabelledRow& row = *d.rows[static_cast<std::size_t>(r)];
    region.push_back(row.region), weight.push_back(row.weight);
    Ids labels = row.positives;
    d.owner.push_back(blocks.block_of(labels.at(0)));
    std::sort(labels.begin(), labels.end());
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    for (const std::int64_t k : labels) {
      const std::int64_t b = blocks.block_of(k);
      d.labels.push_back({r, b, place(k) - place(blocks.rows(b).begin), row.different});
    }
  }
  d.denominator = static_cast<double>(table.regions) / table.options->weight;
  d.weights = Tensor::of(weight, {d.R()}).to(wide(), Segment::data).to(device());

  for (std::int64_t b = here.begin; b < here.end; ++b) {
    const Range rows = blocks.rows(b);
    const auto first = place(rows.begin), last = place(rows.end);
    Draw::Part part{.block = b, .classes = last - first};
    for (const LabelledRow* row : d.rows) {
      const std::int64_t k = row->positives[0];
      part.target.push_back(k >= rows.begin && k < rows.end ? place(k) - first : -1);
    }
    if (part.classes > 0) {
      const ClassDraws::Draw drawn{{whole.classes.begin() + first, whole.classes.begin() + last},
                                   {whole.negative.begin() + first, whole.negative.begin() + last}};
      Ids here_rows = drawn.classes;
      for (std::int64_t& k : here_rows) k -= rows.begin;
      part.roles = roles_of(d.rows, drawn).to(device());
      const auto i = static_cast<std::size_t>(b - here.begin);
      const Var r = embedding(ids(region, device()), inputs_[t][i]), centres = head_.parameter(held_[held + i]);
      const Var w = l2_normalize(table.draws->all() ? centres : embedding(ids(here_rows, device()), centres));
      part.cos = linear(r, w, {}, true);
      part.z = margin_logits(part.cos, part.roles, table.options->margin);
    }
    d.parts.push_back(std::move(part));
  }
  draws_.push_back(std::move(d));
}

// Of this rank's blocks: by draw and block, lse of every row as the kernels leave it, with softmax the rows' cross
// entropies, and the cosines of the labels that lie in the block. One tensor, on the host.
Tensor LeafOfTurn::said() const {
  std::vector<Tensor> all;
  std::int64_t count = 0;
  const auto say = [&](const Tensor& t) { all.push_back(t.flat()), count += t.numel(); };
  for (const Draw& d : draws_)
    for (const Draw::Part& p : d.parts) {
      const Tensor lse({d.R(), 2}, wide(), device()), row_loss({d.R()}, wide(), device()), loss({1}, wide(), device());
      if (!p.z) {
        std::vector<double> nothing;
        for (std::int64_t r = 0; r < d.R(); ++r)
          nothing.push_back(softmax(d) ? static_cast<double>(nothing_drawn) : 0.0), nothing.push_back(0);
        say(Tensor::of(nothing, {d.R(), 2}).to(wide()).to(device()));
        if (softmax(d)) row_loss.zero(), say(row_loss);
        continue;
      }
      if (softmax(d)) {
        Ids target = p.target;
        for (std::int64_t& k : target) k = std::max<std::int64_t>(k, 0);
        kernels::cross_entropy_forward({.loss = loss,
                                        .token_loss = row_loss,
                                        .lse = lse,
                                        .logits = p.z.value,
                                        .targets = ids(target, device()),
                                        .weights = d.weights,
                                        .denominator = d.denominator});
      } else {
        kernels::cluster_loss_forward({.loss = loss,
                                       .row_loss = row_loss,
                                       .lse = lse,
                                       .logits = p.z.value,
                                       .roles = p.roles,
                                       .weights = d.weights,
                                       .denominator = d.denominator});
      }
      say(lse);
      if (softmax(d)) say(row_loss);
      Ids at;
      for (const Label& l : d.labels)
        if (l.block == p.block) at.push_back(l.row * p.classes + l.column);
      if (at.empty()) continue;
      const Tensor cos({static_cast<std::int64_t>(at.size()), 1}, wide(), device());
      kernels::take_rows_forward({.y = cos, .x = p.cos.value.view({d.R() * p.classes, 1}), .index = ids(at, device())});
      say(cos);
    }
  const Tensor together({count}, wide(), device());
  std::int64_t next = 0;
  for (const Tensor& t : all) together.slice(0, next, next + t.numel()).copy_from(t), next += t.numel();
  return read_back(together);
}

// What all blocks say, and with it the loss of this leaf's rows, and how many own classes lie above its labels.
void LeafOfTurn::join() {
  const int n = turn_.ranks.ranks();
  Parts from;
  for (int rank = 0; rank < n; ++rank) {
    std::int64_t count = 0;
    for (const Draw& d : draws_) {
      const Range here = d.blocks.of_rank(rank);
      count += here.size() * d.R() * (softmax(d) ? 3 : 2);
      for (const Label& l : d.labels) count += l.block >= here.begin && l.block < here.end;
    }
    from.emplace_back(Shape{count}, wide(), cpu());
  }
  from[static_cast<std::size_t>(turn_.ranks.rank())] = said();
  turn_.ranks.all_gather(from);

  std::vector<std::int64_t> next(static_cast<std::size_t>(n)), label_at;
  std::int64_t labels = 0;
  for (const Draw& d : draws_) label_at.push_back(labels), labels += static_cast<std::int64_t>(d.labels.size());
  above_ = Tensor::zeros({labels}, Dtype::i64, device());
  for (std::size_t i = 0; i < draws_.size(); ++i) {
    Draw& d = draws_[i];
    const std::int64_t B = d.blocks.blocks, R = d.R(), L = static_cast<std::int64_t>(d.labels.size());
    const std::int64_t k = softmax(d) ? 3 : 2;
    const Tensor parts({B, R, k}, wide(), cpu()), value({L}, wide(), cpu());
    by_dtype(wide(), [&](auto v) {
      using A = Accum<decltype(v)>;
      for (std::int64_t b = 0; b < B; ++b) {
        const auto rank = static_cast<std::size_t>(d.blocks.holder(b));
        const A* said = from[rank].data<A>() + next[rank];
        A* to = parts.data<A>() + b * R * k;
        for (std::int64_t r = 0; r < R; ++r) {
          std::copy_n(said + 2 * r, 2, to + k * r);
          if (k == 3) to[k * r + 2] = said[2 * R + r];
        }
        next[rank] += k * R;
        for (std::int64_t l = 0; l < L; ++l)
          if (d.labels[static_cast<std::size_t>(l)].block == b) value.data<A>()[l] = from[rank].data<A>()[next[rank]++];
      }
    });
    const Tensor weights = read_back(d.weights);
    const JoinedLoss joined = softmax(d) ? joined_cross_entropy(parts, d.owner, weights, d.denominator)
                                         : joined_cluster_loss(parts, weights, d.denominator);
    const auto number = static_cast<std::int64_t>(d.number);
    if (own_)
      kernels::copy({.y = turn_.tables[d.table].scalars.slice(0, number, number + 1), .x = joined.loss.to(device())});
    d.lse = joined.lse.to(device());
    const Tensor values = value.to(device());
    for (const Draw::Part& p : d.parts) {
      if (!p.z) continue;
      Ids row, column;
      for (const Label& l : d.labels) {
        row.push_back(l.row);
        column.push_back(l.block == p.block ? l.column : p.block < l.block ? p.classes : 0);
      }
      kernels::cluster_above({.above = above_.slice(0, label_at[i], label_at[i] + L),
                              .cos = p.cos.value,
                              .roles = p.roles,
                              .value = values,
                              .row = ids(row, device()),
                              .column = ids(column, device())});
    }
  }
}

void LeafOfTurn::backward() {
  std::vector<Var> logits;
  std::vector<Tensor> gradients;
  const Tensor one({1}, wide(), device());
  one.fill(1);
  for (const Draw& d : draws_)
    for (const Draw::Part& p : d.parts) {
      if (!p.z) continue;
      const Tensor dz = Tensor::like(p.z.value);
      if (softmax(d))
        kernels::cross_entropy_backward({.dlogits = dz,
                                         .dloss = one,
                                         .logits = p.z.value,
                                         .targets = ids(p.target, device()),
                                         .weights = d.weights,
                                         .lse = d.lse,
                                         .denominator = d.denominator});
      else
        kernels::cluster_loss_backward({.dlogits = dz,
                                        .dloss = one,
                                        .logits = p.z.value,
                                        .roles = p.roles,
                                        .weights = d.weights,
                                        .lse = d.lse,
                                        .denominator = d.denominator});
      logits.push_back(p.z), gradients.push_back(dz);
    }
  head_.backward(logits, gradients);
  tape_.count(head_.products());
  for (Draw& d : draws_) d.parts.clear();
}

Tensor LeafOfTurn::directions_gradient(std::size_t table) const {
  std::vector<Tensor> by_block;
  for (const Var& r : inputs_[table]) {
    const Tensor g = head_.gradient(r);
    by_block.push_back(g ? g.to(wide()) : Tensor::zeros(r.shape(), wide(), device()));
  }
  sum_in_order(by_block);
  return by_block.empty() ? Tensor() : by_block[0];
}

void LeafOfTurn::report_hits(const Ids& above) const {
  std::vector<double> hits(turn_.tables.size());
  std::size_t next = 0;
  for (const Draw& d : draws_)
    for (const Label& l : d.labels) hits[d.table] += above.at(next++) < l.wanted;
  for (std::size_t t = 0; t < hits.size(); ++t) {
    const Tensor& scalars = turn_.tables[t].scalars;
    const std::int64_t last = scalars.dim(0) - 1;
    scalars.slice(0, last, last + 1).copy_from(Tensor::of(std::vector<double>{hits[t]}, {1}).to(device()));
  }
}

}  // namespace ov
