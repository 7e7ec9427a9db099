#include "parallel/zero1.h"

#include <algorithm>

#include "kernels/adamw.h"

namespace ov {

Range Zero1::own(int rank, std::int64_t trained) const { return shard_of(trained, rank, ranks_.ranks()); }

Tensor Zero1::sum(const Tensor& gradients, int adding) const {
  const Parts shards = shards_of(gradients, ranks_.ranks());
  const Tensor& own = shards[static_cast<std::size_t>(ranks_.rank())];
  ranks_.reduce_scatter(own, shards, adding);
  return own;
}

// A rank's shard is one stretch of the buffer, so that a bucket lies in the shards of one or two ranks: to receive it
// they would need N times as long as all ranks together.
void Zero1::sum_bucket(const Tensor& gradients, Range bucket, int adding, Communicator& ranks) const {
  const int N = ranks.ranks(), self = ranks.rank();
  const Parts shares = shards_of(gradients.slice(0, bucket.begin, bucket.end), N);
  ranks.reduce_scatter(shares[static_cast<std::size_t>(self)], shares, adding);
  Parts to, from;
  // Of the share of rank r, what rank `of` keeps; null where that is nothing, and of a rank with itself.
  const auto kept = [&](int r, int of) -> Tensor {
    const Range share = shard_of(bucket.size(), r, N), own = shard_of(parameters_.trained(), of, N);
    const std::int64_t begin = std::max(bucket.begin + share.begin, own.begin),
                       end = std::min(bucket.begin + share.end, own.end);
    return r == of || begin >= end ? Tensor() : gradients.slice(0, begin, end);
  };
  for (int r = 0; r < N; ++r) to.push_back(kept(r, self)), from.push_back(kept(self, r));
  ranks.all_to_all(to, from);
}

void Zero1::complete_squares(const Tensor& squares) const {
  Parts parts;
  for (int r = 0; r < ranks_.ranks(); ++r) {
    const auto chunk = [](std::int64_t element) { return (element + kernels::norm_chunk - 1) / kernels::norm_chunk; };
    const Range shard = shard_of(parameters_.trained(), r, ranks_.ranks());
    parts.push_back(squares.slice(0, chunk(shard.begin), chunk(shard.end)));
  }
  ranks_.all_gather(parts);
}

// Values of what is frozen lie between those that are trained: one gather for every stretch without a gap.
void Zero1::share_values() const {
  struct Stretch {
    std::int64_t gradient, value, count;
  };
  std::vector<Stretch> stretches;
  for (const auto& e : parameters_.entries()) {
    if (!e.parameter.trainable) continue;
    if (!stretches.empty() && stretches.back().value + stretches.back().count == e.offset)
      stretches.back().count += e.shape.numel();
    else stretches.push_back({e.parameter.gradient, e.offset, e.shape.numel()});
  }
  for (const Stretch& s : stretches) {
    Parts parts;
    for (int r = 0; r < ranks_.ranks(); ++r) {
      const Range shard = shard_of(parameters_.trained(), r, ranks_.ranks());
      const auto within = [&](std::int64_t element) {
        return s.value + std::clamp<std::int64_t>(element - s.gradient, 0, s.count);
      };
      parts.push_back(parameters_.values().slice(0, within(shard.begin), within(shard.end)));
    }
    ranks_.all_gather(parts);
  }
}

}  // namespace ov
