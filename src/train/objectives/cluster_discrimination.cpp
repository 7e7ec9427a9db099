#include "train/objectives/cluster_discrimination.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/parallel.h"
#include "kernels/cluster_loss.h"
#include "kernels/copy.h"
#include "tensor/transfer.h"

namespace ov {

std::vector<std::int64_t> sample_classes(std::int64_t classes, double density,
                                         const std::vector<std::int64_t>& positives, const Philox& random) {
  const auto wanted = static_cast<std::int64_t>(density * static_cast<double>(classes));
  const std::int64_t others = wanted - static_cast<std::int64_t>(positives.size());
  if (others <= 0) return positives;
  struct Keyed {
    std::uint64_t key;
    std::int64_t id;
    bool operator<(const Keyed& o) const { return key != o.key ? key < o.key : id < o.id; }
  };
  std::vector<Keyed> candidates;
  candidates.reserve(static_cast<std::size_t>(classes));
  std::size_t next = 0;
  for (std::int64_t k = 0; k < classes; ++k) {
    if (next < positives.size() && positives[next] == k) ++next;
    else candidates.push_back({random.u64(static_cast<std::uint64_t>(k)), k});
  }
  const auto end = candidates.begin() + others;
  if (end < candidates.end()) std::nth_element(candidates.begin(), end, candidates.end());
  std::vector<std::int64_t> chosen = positives;
  for (auto c = candidates.begin(); c < end && c < candidates.end(); ++c) chosen.push_back(c->id);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<LabelledRow> labelled_rows(const std::vector<Region>& regions, bool text, bool softmax) {
  std::vector<LabelledRow> rows;
  for (std::size_t r = 0; r < regions.size(); ++r) {
    const Region& region = regions[r];
    const auto at = static_cast<std::int64_t>(r);
    if (region.label.is_text() != text) continue;
    const auto& labels = region.label.characters;
    const auto different = static_cast<std::int64_t>(std::set<std::int64_t>(labels.begin(), labels.end()).size());
    if (!text) {
      rows.push_back({at, region.slot, {region.label.object}, 1, 1});
    } else if (!softmax) {
      rows.push_back({at, region.slot, labels, 1, different});
    } else {
      for (std::size_t m = 0; m < labels.size(); ++m)
        rows.push_back(
            {at, static_cast<std::int64_t>(m), {labels[m]}, 1 / static_cast<double>(labels.size()), different});
    }
  }
  return rows;
}

ClassDraws::ClassDraws(std::int64_t classes, double density, bool join, const std::vector<LabelledRow>& rows,
                       std::uint64_t seed, std::string_view purpose, std::uint64_t step)
    : classes_(classes), all_(density >= 1) {
  if (all_) {
    draws_.resize(1);
    draws_[0].classes.resize(static_cast<std::size_t>(classes));
    std::iota(draws_[0].classes.begin(), draws_[0].classes.end(), 0);
    draws_[0].negative.assign(static_cast<std::size_t>(classes), true);
    return;
  }
  std::vector<std::set<std::int64_t>> positives;
  for (const LabelledRow& row : rows) {
    if (static_cast<std::size_t>(row.draw) >= positives.size())
      positives.resize(static_cast<std::size_t>(row.draw) + 1);
    positives[static_cast<std::size_t>(row.draw)].insert(row.positives.begin(), row.positives.end());
  }
  draws_.resize(positives.size());
  parallel_for(static_cast<std::int64_t>(draws_.size()), [&](std::int64_t d) {
    // Every draw has a stream of its own: the step's word of the counter is taken, so the draw goes into the purpose.
    const Philox random(seed, cat(purpose, " draw ", d), step);
    const std::vector<std::int64_t> own(positives[static_cast<std::size_t>(d)].begin(),
                                        positives[static_cast<std::size_t>(d)].end());
    const std::vector<std::int64_t> drawn =
        sample_classes(classes, density, join ? own : std::vector<std::int64_t>(), random);
    Draw& draw = draws_[static_cast<std::size_t>(d)];
    std::set_union(drawn.begin(), drawn.end(), own.begin(), own.end(), std::back_inserter(draw.classes));
    for (const std::int64_t k : draw.classes)
      draw.negative.push_back(std::binary_search(drawn.begin(), drawn.end(), k));
  });
}

namespace {

std::int64_t column_of(const ClassDraws::Draw& draw, std::int64_t label) {
  return std::lower_bound(draw.classes.begin(), draw.classes.end(), label) - draw.classes.begin();
}

}  // namespace

Tensor roles_of(const std::vector<const LabelledRow*>& rows, const ClassDraws::Draw& draw) {
  namespace role = kernels::role;
  const auto S = static_cast<std::int64_t>(draw.classes.size());
  const Tensor roles({static_cast<std::int64_t>(rows.size()), S}, Dtype::u8, cpu(), Segment::data);
  std::vector<std::uint8_t> of_all;
  for (const bool negative : draw.negative) of_all.push_back(negative ? role::negative : role::none);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::uint8_t* r = roles.row<std::uint8_t>(static_cast<std::int64_t>(i));
    std::copy(of_all.begin(), of_all.end(), r);
    for (const std::int64_t label : rows[i]->positives) {
      const std::int64_t column = column_of(draw, label);
      if (column == S || draw.classes[static_cast<std::size_t>(column)] != label) continue;  // in another block
      std::uint8_t& at = r[column];
      at = at < role::positive ? role::positive : static_cast<std::uint8_t>(std::min<int>(at + 1, role::most));
    }
  }
  return roles;
}

ClusterResult cluster_discrimination(const Var& directions, const Var& centres, const std::vector<LabelledRow>& rows,
                                     const ClassDraws& draws, const ClusterOptions& options, std::int64_t regions,
                                     const Tensor& scalars) {
  ClusterResult result;
  if (options.weight == 0) return result;
  Device& device = directions.value.device();
  const double denominator = static_cast<double>(regions) / options.weight;
  for (std::size_t d = 0; d < draws.draws().size(); ++d) {
    const ClassDraws::Draw& draw = draws.draws()[d];
    std::vector<const LabelledRow*> here;
    std::vector<std::int64_t> region, target;
    for (const LabelledRow& row : rows)
      if (draws.all() || row.draw == static_cast<std::int64_t>(d)) here.push_back(&row);
    if (here.empty()) continue;
    const auto R = static_cast<std::int64_t>(here.size()), S = static_cast<std::int64_t>(draw.classes.size());
    for (const LabelledRow* row : here) region.push_back(row->region);

    // A region has several rows with softmax, and a class is in the draw once: both are rows by index.
    const Tensor roles = roles_of(here, draw).to(device);
    const Var r = embedding(index_tensor("regions", region, {R}, 0, directions.dim(0), device), directions);
    const Var w = l2_normalize(
        draws.all() ? centres
                    : embedding(index_tensor("classes", draw.classes, {S}, 0, centres.dim(0), device), centres));
    const Var cos = linear(r, w, {}, true);  // a margin's scale makes the rounding of a bf16 cosine 0.25 of a logit
    const Var z = margin_logits(cos, roles, options.margin);

    std::vector<double> weight;
    for (const LabelledRow* row : here) weight.push_back(row->weight);
    const Tensor weights = Tensor::of(weight, {R}).to(accum_dtype(directions.value.dtype()), Segment::data).to(device);
    std::vector<std::int64_t> different;
    for (const LabelledRow* row : here) {
      if (options.softmax) target.push_back(column_of(draw, row->positives.at(0)));
      different.push_back(row->different);
    }
    result.losses.push_back(
        options.softmax
            ? cross_entropy(z, index_tensor("drawn classes", target, {R}, 0, S, device), weights, denominator).loss
            : cluster_loss(z, roles, weights, denominator).loss);
    const auto at = static_cast<std::int64_t>(d), last = scalars.dim(0) - 1;
    kernels::copy({.y = scalars.slice(0, at, at + 1), .x = result.losses.back().value});
    kernels::cluster_hits({.hits = scalars.slice(0, last, last + 1),
                           .cos = cos.value,
                           .roles = roles,
                           .k = Tensor::of(different, {R}, device)});
  }
  return result;
}

}  // namespace ov
