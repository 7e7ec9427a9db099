#include "parallel/shares.h"

#include <algorithm>
#include <numeric>

namespace ov {

Shares::Shares(const Parameters& parameters, int data_ranks, int context_ranks)
    : parameters_(parameters),
      data_(data_ranks),
      context_(context_ranks),
      tensor_(parameters.tensor().ranks()),
      pipe_(parameters.pipe().ranks()),
      experts_(parameters.experts().ranks()) {}

const std::vector<std::int64_t>& Shares::borders(const Kind& kind, int stage, int holder) {
  std::vector<std::int64_t>& borders = borders_[{kind.trained, kind.cut, kind.shared, stage, holder}];
  if (!borders.empty()) return borders;
  std::int64_t all = 0;  // trained, or frozen, of all kinds: what shards are of
  const auto counts = [&](const auto& e) { return e.parameter.trainable == kind.trained && holds(e, stage, holder); };
  for (const auto& e : parameters_.entries()) all += counts(e) ? e.part.numel() : 0;
  std::int64_t at = 0, of_kind = 0;
  borders = {0};
  for (const auto& e : parameters_.entries()) {
    if (!counts(e)) continue;
    const std::int64_t n = e.part.numel();
    for (int d = static_cast<int>(borders.size()) - 1; d < data_ && shard_of(all, d, data_).end <= at + n; ++d)
      borders.push_back(of_kind + (kind.has(e) ? shard_of(all, d, data_).end - at : 0));
    at += n, of_kind += kind.has(e) ? n : 0;
  }
  borders.resize(static_cast<std::size_t>(data_) + 1, of_kind);
  return borders;
}

// What all that share experts hold, they divide. Where their experts differ in size, so do the borders of their shards,
// a little: the middle is in the shard of each; what lies behind it goes to the one whose shard ends last.
Range Shares::range_of(const Kind& kind, int stage, int holder, int data) {
  const auto d = static_cast<std::size_t>(data);
  if (!kind.shared || experts_ == 1) {
    const std::vector<std::int64_t>& own = borders(kind, stage, holder);
    return {own[d], own[d + 1]};
  }
  std::vector<std::int64_t> ends;
  Range middle{0, INT64_MAX};
  for (int e = 0; e < experts_; ++e) {
    const std::vector<std::int64_t>& own = borders(kind, stage, e);
    middle.begin = std::max(middle.begin, own[d]), middle.end = std::min(middle.end, own[d + 1]);
    ends.push_back(own[d + 1]);
  }
  middle.end = std::max(middle.begin, middle.end);
  std::vector<int> order(ends.size());
  std::iota(order.begin(), order.end(), 0);
  const auto end_of = [&](int e) { return ends[static_cast<std::size_t>(e)]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return end_of(a) < end_of(b); });
  const auto place = static_cast<int>(std::find(order.begin(), order.end(), holder) - order.begin());
  const Range share = shard_of(middle.size(), place, experts_);
  const bool last = place == experts_ - 1;
  return {middle.begin + share.begin, last ? std::max(middle.end, end_of(holder)) : middle.begin + share.end};
}

std::vector<Shares::Share> Shares::of(int rank) {
  const auto next = [&rank](int count) {
    const int place = rank % count;
    rank /= count;
    return place;
  };
  const int tensor = next(tensor_), context = next(context_), stage = next(pipe_), holder = next(experts_), data = rank;
  const auto& entries = parameters_.entries();
  std::vector<Share> shares;
  for (const bool trained : {true, false})
    for (const bool cut : {true, false})
      for (const bool shared : {true, false}) {
        const Kind kind{trained, cut, shared};
        const Range range = range_of(kind, stage, holder, data);
        // Of the copies beside each other: tensor-parallel ranks hold the same of what is not cut.
        const int copies = cut ? context_ : context_ * tensor_, copy = cut ? context : context * tensor_ + tensor;
        const Range share = shard_of(range.size(), copy, copies);
        const std::int64_t begin = range.begin + share.begin, end = range.begin + share.end;
        if (share.size() == 0) continue;
        std::int64_t at = 0;
        for (std::size_t i = 0; i < entries.size(); ++i) {
          const auto& e = entries[i];
          if (!kind.has(e) || !holds(e, stage, holder)) continue;
          const Range part{std::max<std::int64_t>(0, begin - at), std::min(e.part.numel(), end - at)};
          at += e.part.numel();
          if (part.size() > 0) shares.push_back({i, cut ? tensor : 0, part});
        }
      }
  std::sort(shares.begin(), shares.end(), [](const Share& a, const Share& b) { return a.entry < b.entry; });
  return shares;
}

}  // namespace ov
