#include "instruct/balance.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace ov::instruct {
namespace {

std::size_t cell_of(const RecordSummary& k) { return std::size_t{k.category} * difficulties + k.difficulty; }

}  // namespace

std::vector<std::int64_t> fill(const std::vector<double>& shares, const std::vector<std::int64_t>& available,
                               std::int64_t n) {
  const std::size_t cells = shares.size();
  std::vector<std::int64_t> out(cells, 0);
  std::vector<bool> full(cells);
  std::int64_t rest = n;
  double open = 0;
  // Cells that cannot reach their part give all, until those that are left can.
  for (bool changed = true; changed;) {
    changed = false, open = 0;
    for (std::size_t c = 0; c < cells; ++c) open += full[c] ? 0 : shares[c];
    for (std::size_t c = 0; c < cells; ++c)
      if (!full[c] && shares[c] > 0 &&
          static_cast<double>(available[c]) <= static_cast<double>(rest) * shares[c] / open)
        full[c] = changed = true, out[c] = available[c];
    rest = n;
    for (std::size_t c = 0; c < cells; ++c) rest -= full[c] ? out[c] : 0;
  }
  std::vector<std::pair<double, std::size_t>> remainders;
  for (std::size_t c = 0; c < cells; ++c) {
    if (full[c] || shares[c] == 0) continue;
    const double part = static_cast<double>(rest) * shares[c] / open;
    out[c] = static_cast<std::int64_t>(std::floor(part));
    remainders.push_back({part - std::floor(part), c});
  }
  std::int64_t sum = std::accumulate(out.begin(), out.end(), std::int64_t{0});
  std::stable_sort(remainders.begin(), remainders.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [r, c] : remainders)
    if (sum < n && out[c] < available[c]) ++out[c], ++sum;
  return out;
}

Quotas Quotas::draw(const BalanceTarget& target, const EachRecord& each) {
  Quotas q;
  q.cells_.resize(categories.size() * difficulties);
  std::vector<std::int64_t> available(q.cells_.size(), 0);
  each([&](const RecordSummary& k, std::int64_t) { ++available[cell_of(k)]; });
  const std::int64_t all = std::accumulate(available.begin(), available.end(), std::int64_t{0});
  const auto any = [](const std::vector<double>& v) {
    return std::any_of(v.begin(), v.end(), [](double s) { return s > 0; });
  };
  std::vector<double> shares(q.cells_.size());
  for (std::size_t c = 0; c < shares.size(); ++c) {
    // Without shares of an axis, the records' own.
    const std::size_t category = c / difficulties, difficulty = c % difficulties;
    double of_category = 0, of_difficulty = 0;
    for (std::size_t o = 0; o < shares.size(); ++o) {
      if (o / difficulties == category) of_category += static_cast<double>(available[o]);
      if (o % difficulties == difficulty) of_difficulty += static_cast<double>(available[o]);
    }
    const bool by_category = any(target.category), by_difficulty = any(target.difficulty);
    const auto own = static_cast<double>(available[c]);
    shares[c] = by_category && by_difficulty ? target.category[category] * target.difficulty[difficulty]
                : by_category                ? target.category[category] * (of_category > 0 ? own / of_category : 0)
                : by_difficulty ? target.difficulty[difficulty] * (of_difficulty > 0 ? own / of_difficulty : 0)
                                : own;
  }
  const std::vector<std::int64_t> kept =
      target.records == 0 && !any(target.category) && !any(target.difficulty)
          ? available
          : fill(shares, available, target.records == 0 ? all : std::min(all, target.records));

  // The border of a cell is the kept-th smallest number: its 16-bit digits are found from the highest on.
  std::vector<std::int64_t> below(q.cells_.size(), 0);  // that are smaller than what is known of the border
  for (std::size_t c = 0; c < kept.size(); ++c) q.cells_[c] = {available[c], kept[c], 0, -1};
  const auto partly = [&](std::size_t c) { return 0 < kept[c] && kept[c] < available[c]; };
  for (int shift = 48; shift >= 0; shift -= 16) {
    std::map<std::size_t, std::vector<std::int64_t>> counts;
    for (std::size_t c = 0; c < kept.size(); ++c)
      if (partly(c)) counts[c].resize(1 << 16);
    if (counts.empty()) return q;
    each([&](const RecordSummary& k, std::int64_t) {
      const std::size_t c = cell_of(k);
      if (partly(c) && (shift == 48 || k.draw >> (shift + 16) == q.cells_[c].border >> (shift + 16)))
        ++counts[c][k.draw >> shift & 0xffff];
    });
    for (auto& [c, list] : counts) {
      std::uint64_t digit = 0;
      while (below[c] + list[digit] < kept[c]) below[c] += list[digit++];
      q.cells_[c].border |= digit << shift;
    }
  }
  // Of equal numbers the first ones.
  each([&](const RecordSummary& k, std::int64_t place) {
    const std::size_t c = cell_of(k);
    if (partly(c) && k.draw == q.cells_[c].border && below[c] < kept[c]) ++below[c], q.cells_[c].last_place = place;
  });
  return q;
}

bool Quotas::keeps(const RecordSummary& k, std::int64_t place) const {
  const Cell& c = cells_[cell_of(k)];
  if (c.kept == c.available || c.kept == 0) return c.kept > 0;
  return k.draw < c.border || (k.draw == c.border && place <= c.last_place);
}

std::string Quotas::name(const RecordSummary& k) const {
  const Cell& c = cells_[cell_of(k)];
  return cat(categories[k.category], ", difficulty ", k.difficulty + 1, ": ", c.kept, " of ", c.available, " are kept");
}

std::string Quotas::shortage(const BalanceTarget& target) const {
  std::string out;
  std::int64_t all = 0, kept = 0;
  for (std::size_t c = 0; c < categories.size(); ++c) {
    std::int64_t available = 0, of_category = 0;
    for (std::size_t d = 0; d < difficulties; ++d)
      available += cells_[c * difficulties + d].available, of_category += cells_[c * difficulties + d].kept;
    if (available > 0 && of_category == 0)
      out += cat(out.empty() ? "" : ", ", "none of ", available, " records of ", categories[c]);
    all += available, kept += of_category;
  }
  if (!out.empty()) out = cat("the shares of balance.categories and balance.difficulty keep ", out);
  if (kept < target.records)
    out += cat(out.empty() ? "" : "; ", "balance.records is ", target.records, ", and ", kept, " of ", all, " remain");
  return out;
}

}  // namespace ov::instruct
