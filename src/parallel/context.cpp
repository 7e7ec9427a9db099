#include "parallel/context.h"

#include <algorithm>
#include <numeric>

namespace ov {
namespace {

constexpr double slack = 1.0 / 8;  // more than the mean that a rank may have to do before a unit is cut

// Chunk i of a segment that c ranks have cut.
std::int64_t border(std::int64_t length, std::int64_t i, int c) { return length * i / (2 * c); }

double pairs_of(const kernels::SegmentTable& table, const kernels::SegmentRow& s) {
  const auto n = static_cast<double>(s.q_length);
  const double before = s.prefix < 0 ? 0 : static_cast<double>(table[static_cast<std::size_t>(s.prefix)].q_length);
  return n * before + n * (n + 1) / 2;
}

std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

}  // namespace

ContextPlan::ContextPlan(const ContextRow& row, const ContextCosts& costs_of, int ranks)
    : tokens(at(ranks)), pictures(at(ranks)), costs(at(ranks)), row_(row) {
  divide(costs_of);
  // As few units are cut as will do, the longest first; one of fewer tokens than chunks is not worth it.
  for (;;) {
    place(costs_of);
    const double mean = std::accumulate(costs.begin(), costs.end(), 0.0) / ranks;
    if (*std::max_element(costs.begin(), costs.end()) <= (1 + slack) * mean) break;
    Unit* longest = nullptr;
    for (Unit& u : units_)
      if (!u.cut && u.tokens >= 2 * ranks && (!longest || u.cost > longest->cost)) longest = &u;
    if (!longest) break;
    longest->cut = cuts_ = true;
  }
}

// Segments to units, with their costs and pictures.
void ContextPlan::divide(const ContextCosts& costs_of) {
  for (std::size_t i = 0; i < row_.segments.size(); ++i) {
    const kernels::SegmentRow& s = row_.segments[i];
    if (s.prefix < 0) units_.emplace_back();
    unit_of_.push_back(s.prefix < 0 ? units_.size() - 1 : unit_of_[static_cast<std::size_t>(s.prefix)]);
    Unit& u = units_[unit_of_.back()];
    u.segments.push_back(i);
    u.tokens += s.q_length;
    u.cost += costs_of.token * static_cast<double>(s.q_length) + costs_of.pair * pairs_of(row_.segments, s);
  }
  // A picture belongs to the unit where its first feature stands.
  std::vector<std::size_t> unit_of_feature(
      static_cast<std::size_t>(std::accumulate(row_.of_pictures.begin(), row_.of_pictures.end(), std::int64_t{0})));
  for (std::size_t i = 0; i < row_.segments.size(); ++i)
    for (std::int64_t t = 0; t < row_.segments[i].q_length; ++t)
      if (const auto f = row_.features[static_cast<std::size_t>(row_.segments[i].q_begin + t)]; f >= 0)
        unit_of_feature[static_cast<std::size_t>(f)] = unit_of_[i];
  std::size_t first = 0;
  for (std::size_t p = 0; p < row_.of_pictures.size(); ++p) {
    if (row_.of_pictures[p] > 0) units_[unit_of_feature[first]].pictures.push_back(p);
    first += static_cast<std::size_t>(row_.of_pictures[p]);
  }
}

// Everything to a rank, given which units are cut.
void ContextPlan::place(const ContextCosts& costs_of) {
  const int c = ranks();
  for (int r = 0; r < c; ++r) tokens[at(r)].clear(), pictures[at(r)].clear(), costs[at(r)] = 0;
  std::vector<int> of_picture(row_.of_pictures.size(), 0);
  struct Item {
    double cost;
    Unit* unit;           // whole, or
    std::size_t picture;  // one of what is cut
  };
  std::vector<Item> items;
  for (Unit& u : units_) {
    double all = u.cost;
    for (const std::size_t p : u.pictures) {
      all += costs_of.pictures[p];
      if (u.cut) items.push_back({costs_of.pictures[p], nullptr, p});
    }
    if (!u.cut) items.push_back({all, &u, 0});
    for (int r = 0; u.cut && r < c; ++r) costs[at(r)] += u.cost / c;
  }
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.cost > b.cost; });
  for (const Item& item : items) {
    const int least = static_cast<int>(std::min_element(costs.begin(), costs.end()) - costs.begin());
    costs[at(least)] += item.cost;
    if (!item.unit) of_picture[item.picture] = least;
    else {
      item.unit->rank = least;
      for (const std::size_t p : item.unit->pictures) of_picture[p] = least;
    }
  }

  std::vector<int> owner(row_.features.size(), 0);
  for (std::size_t i = 0; i < row_.segments.size(); ++i) {
    const Unit& u = units_[unit_of_[i]];
    const kernels::SegmentRow& s = row_.segments[i];
    for (int chunk = 0; chunk < 2 * c; ++chunk)
      for (std::int64_t t = border(s.q_length, chunk, c); t < border(s.q_length, chunk + 1, c); ++t)
        owner[static_cast<std::size_t>(s.q_begin + t)] = u.cut ? std::min(chunk, 2 * c - 1 - chunk) : u.rank;
  }
  place_.clear(), features_.clear();
  for (std::size_t t = 0; t < owner.size(); ++t) {
    auto& own = tokens[at(owner[t])];
    place_.push_back({owner[t], std::ssize(own)});
    own.push_back(static_cast<std::int64_t>(t));
  }
  std::vector<std::int64_t> rows(at(c), 0);
  for (std::size_t p = 0; p < of_picture.size(); ++p) {
    pictures[at(of_picture[p])].push_back(static_cast<std::int64_t>(p));
    for (std::int64_t f = 0; f < row_.of_pictures[p]; ++f)
      features_.push_back({of_picture[p], rows[at(of_picture[p])]++});
  }
}

// Rows of the table in order of the segments. A cut one has two chunks here: the first row has the segment up to its
// end, the second, of which the first is a prefix, what follows. A branch has a prefix already: there the second row
// has the segment from its beginning, and the prefix is a row of its own, without queries.
ContextPlan::Keys ContextPlan::keys(int rank) const {
  const int c = ranks();
  Keys out;
  std::vector<std::int64_t> row_of(row_.segments.size(), -1);
  const auto place = [&](std::int64_t token) { return place_[static_cast<std::size_t>(token)]; };
  // Puts keys [begin, end) of tokens there, and a row that has them.
  const auto append = [&](kernels::SegmentRow row, std::int64_t begin, std::int64_t end) {
    row.k_begin = std::ssize(out.sources), row.k_length = end - begin;
    for (std::int64_t t = begin; t < end; ++t) out.sources.push_back(place(t));
    out.table.push_back(row);
    return std::ssize(out.table) - 1;
  };
  for (std::size_t i = 0; i < row_.segments.size(); ++i) {
    const kernels::SegmentRow& s = row_.segments[i];
    const Unit& u = units_[unit_of_[i]];
    const std::size_t prefix = s.prefix < 0 ? i : static_cast<std::size_t>(s.prefix);
    if (!u.cut) {
      if (u.rank != rank) continue;
      const std::int64_t first = s.q_length > 0 ? place(s.q_begin).row : 0;
      row_of[i] =
          append({first, s.q_length, 0, 0, s.prefix < 0 ? -1 : row_of[prefix]}, s.q_begin, s.q_begin + s.q_length);
      continue;
    }
    std::int64_t seen = 0, before = -1;
    for (const int chunk : {rank, 2 * c - 1 - rank}) {
      const std::int64_t begin = border(s.q_length, chunk, c), end = border(s.q_length, chunk + 1, c);
      if (begin == end) continue;
      if (prefix != i && row_of[prefix] < 0) {
        const kernels::SegmentRow& p = row_.segments[prefix];
        row_of[prefix] = append({}, p.q_begin, p.q_begin + p.q_length);
      }
      const std::int64_t row =
          append({place(s.q_begin + begin).row, end - begin, 0, 0, prefix == i ? before : row_of[prefix]},
                 s.q_begin + seen, s.q_begin + end);
      if (prefix == i) seen = end, before = row;
    }
  }
  // Where nothing is cut, keys are the rank's own, which lie as its queries do.
  if (!cuts_)
    for (kernels::SegmentRow& r : out.table) r.k_begin = r.q_begin;
  return out;
}

kernels::SegmentTable ContextPlan::table(int rank) const { return keys(rank).table; }
std::vector<RowSource> ContextPlan::key_sources(int rank) const { return keys(rank).sources; }

bool ContextPlan::moves_features() const {
  // Where keys are exchanged every rank's activations must have a gradient if one's have: all read features.
  if (cuts_) return !row_.of_pictures.empty();
  for (std::size_t t = 0; t < row_.features.size(); ++t)
    if (const auto f = row_.features[t]; f >= 0 && features_[static_cast<std::size_t>(f)].rank != place_[t].rank)
      return true;
  return false;
}

std::vector<RowSource> ContextPlan::feature_sources(int rank) const {
  std::vector<RowSource> sources;
  for (const std::int64_t t : tokens[at(rank)])
    if (const auto f = row_.features[static_cast<std::size_t>(t)]; f >= 0)
      sources.push_back(features_[static_cast<std::size_t>(f)]);
  return sources;
}

ContextPart::ContextPart(const ContextPlan& plan, Communicator& ranks, Device& device)
    : ranks(&ranks), tokens(std::ssize(plan.row().features)) {
  const int own = ranks.rank();
  const auto by_rank = [&](auto&& sources) {
    std::vector<std::vector<RowSource>> all;
    for (int r = 0; r < plan.ranks(); ++r) all.push_back(sources(r));
    return all;
  };
  const std::int64_t T = std::ssize(plan.tokens[at(own)]);
  if (plan.cuts()) keys.emplace(by_rank([&](int r) { return plan.key_sources(r); }), own, device);
  segments = std::make_shared<kernels::Segments>(plan.table(own), T, keys ? keys->index.numel() : T, true, device);
  if (!plan.moves_features()) return;
  features.emplace(by_rank([&](int r) { return plan.feature_sources(r); }), own, device);
  std::int64_t next = 0;
  for (const std::int64_t t : plan.tokens[at(own)])
    feature_rows.push_back(plan.row().features[static_cast<std::size_t>(t)] < 0 ? -1 : next++);
}

void sum_over_context(Communicator& ranks, const Tensor& gradients) {
  if (ranks.ranks() > 1) ranks.all_reduce(gradients);
}

}  // namespace ov
