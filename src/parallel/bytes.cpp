#include "parallel/bytes.h"

#include <algorithm>
#include <bit>

#include "kernels/adamw.h"
#include "parallel/data.h"

namespace ov {

std::int64_t norm_chunks(std::int64_t trained) { return (trained + kernels::norm_chunk - 1) / kernels::norm_chunk; }

std::int64_t DataBytes::total() const {
  const std::int64_t N = ranks, P = trained;
  if (N == 1) return 0;
  // The first `adding` ranks send the shards of others.
  const auto scattered = [&](std::int64_t adding) {
    std::int64_t kept = 0, moved = 0;  // moved: from who has summed it to who keeps it
    for (std::int64_t begin = 0, each = bucket > 0 ? bucket : P; begin < P; begin += each)
      for (int r = 0; r < N; ++r) {
        const Range part = shard_of(std::min(each, P - begin), r, static_cast<int>(N)),
                    own = shard_of(P, r, static_cast<int>(N));
        kept += r < adding ? part.size() : 0;
        moved += part.size() - std::max<std::int64_t>(
                                   0, std::min(begin + part.end, own.end) - std::max(begin + part.begin, own.begin));
      }
    return (adding * P - kept + (zero > 0 ? moved : 0)) * gradient;
  };
  const std::int64_t squares = whole_trained > 0
                                   ? 2 * (norm_chunks(whole_trained) * 8 + shared * kernels::norm_chunk * gradient)
                                   : norm_chunks(P) * 8;
  const std::int64_t update = (N - 1) * (squares + (zero == 3 ? gathered : P) * value) + report_bytes(N, reports);
  if (zero >= 2) {
    std::int64_t sums = 0;
    for (std::int64_t first = 0; first < leaves; first += N) sums += scattered(std::min(N, leaves - first));
    return sums + update;
  }
  const auto block = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>((leaves + N - 1) / N)));
  const std::int64_t sums = scattered((leaves + block - 1) / block);
  return zero == 1 ? sums + update : sums + (N - 1) * P * gradient + report_bytes(N, reports);
}

std::int64_t PipelineBytes::total() const {
  const std::int64_t p = ranks, K = chunks, h = tokens * width;
  return (K - 1) * h * (value + (learns ? gradient : 0)) + (tied ? h * gradient + vocabulary * width * value : 0) +
         2 * (p - 1) * (kernels::norm_chunk * shared * gradient + 8 * norm_chunks(trained)) +
         16 * (K - 1) * experts * leaves + report_bytes(p, reports);
}

std::int64_t TensorBytes::total() const {
  const std::int64_t t = ranks, h = tokens * width * value, tower = patches * tower_width * value;
  std::int64_t rows =
      (4 * layers + 2) * h * (decoder_learns ? 2 : 1) + (4 * blocks + 1) * tower * (tower_learns ? 2 : 1);
  if (recompute) rows += (decoder_learns ? 4 * layers * h : 0) + (tower_learns ? 4 * blocks * tower : 0);
  return (t - 1) * (rows + t * 3 * labelled * gradient + 2 * (uncut * gradient + 8 * norm_chunks(held))) +
         report_bytes(t, 1);
}

std::int64_t ContextBytes::total() const {
  const std::int64_t m = ranks - 1, sent = layers * keys * value * (3 * m * (cut - prefix) / 4 + m * prefix);
  return (recompute ? 3 : 2) * sent + 2 * features * width * value + 2 * m * trained * gradient +
         16 * m * experts * leaves + report_bytes(ranks, reports);
}

namespace {

// What ranks that share a part of the model say of the rest: gradients of it, the norm, the report.
template <class Bytes>
std::int64_t bytes_of_rest(const Bytes& b) {
  const std::int64_t m = b.ranks - 1;
  return (b.tree ? b.turns : 1) * 2 * m * b.rest * b.gradient +
         2 * m * (kernels::norm_chunk * b.shared * b.gradient + 8 * norm_chunks(b.trained)) +
         report_bytes(b.ranks, b.reports);
}

}  // namespace

std::int64_t ExpertBytes::total() const {
  const std::int64_t passes = recompute ? 2 : 1, m = ranks - 1;
  return passes * turns * 8 * m * (experts + ranks) * layers + (passes + 1) * 2 * chose * width * value +
         bytes_of_rest(*this);
}

std::int64_t ClassBytes::total() const {
  const std::int64_t m = ranks - 1;
  return turns * 8 * ranks * m + m * regions * width * value + m * (numbers + labels) * gradient + m * labels * 8 +
         tables * m * regions * width * gradient + bytes_of_rest(*this);
}

}  // namespace ov
