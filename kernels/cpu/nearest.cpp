#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/sum.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_lanes.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t tile_rows_of_a = 1024, tile_rows_of_b = 512, spare = 8;  // a tile's scores: 2 MB

template <class S>
struct Found {
  S score;
  std::int32_t id;
  bool before(const Found& other) const { return score > other.score || (score == other.score && id < other.id); }
};

// The best `limit` of what was offered, best first.
template <class S>
class Best {
 public:
  void reset(std::size_t limit) { limit_ = limit, found_.clear(); }
  bool full() const { return found_.size() == limit_; }
  S worst() const { return found_.back().score; }
  void offer(Found<S> f) {
    if (full() && !f.before(found_.back())) return;
    if (!full()) found_.push_back(f);
    std::size_t at = found_.size() - 1;  // from the end: one that is not foreseen ends it, where halving has several
    for (; at > 0 && f.before(found_[at - 1]); --at) found_[at] = found_[at - 1];
    found_[at] = f;
  }
  const std::vector<Found<S>>& found() const { return found_; }

 private:
  std::size_t limit_ = 0;
  std::vector<Found<S>> found_;
};

double exact_product(std::int64_t C, const float* x, const float* y) { return dot<double>(C, x, y); }

// Offers what of a row of scores may enter. Once the list is full most groups of 32 hold nothing that does.
void scan(const float* scores, const std::int32_t* ids, std::int64_t n, Best<float>& best) {
  constexpr std::int64_t W = Lanes<float>::width, group = 4 * W;
  std::int64_t i = 0;
  for (; i < n && !best.full(); ++i) best.offer({scores[i], ids[i]});
  for (; i + group <= n; i += group) {
    const float worst = best.worst();
    const Lanes<float> limit = Lanes<float>::broadcast(&worst);
    unsigned enter = 0;  // bit j: number j of the group
    OV_UNROLL
    for (int part = 0; part < 4; ++part) enter |= Lanes<float>::load(scores + i + part * W).at_least(limit) << part * W;
    for (; enter; enter &= enter - 1) {
      const std::int64_t j = i + std::countr_zero(enter);
      if (scores[j] >= best.worst()) best.offer({scores[j], ids[j]});
    }
  }
  for (; i < n; ++i)
    if (scores[i] >= best.worst()) best.offer({scores[i], ids[i]});
}

}  // namespace

void nearest(const Nearest& a) {
  const auto [N, C] = a.a.dims<2>();
  const std::int64_t M = a.b.dims<2>()[0], k = a.ids.dims<2>()[1], kept = std::min(k + spare, M);

  // Neighbours in an alphabet are neighbours in meaning: in that order a row's scores may rise and rise, and each
  // enters the list. In a shuffled order k (1 + ln(M/k)) do.
  const Permutation order(M, 0, 0);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(M));
  std::vector<float> b(static_cast<std::size_t>(M * C));
  std::vector<double> squares(static_cast<std::size_t>(M));
  parallel_for(M, 64, [&, C = C](std::int64_t i) {
    const float* row = a.b.device_row<float>(order(i));
    ids[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(order(i));
    std::copy_n(row, C, b.data() + i * C);
    squares[static_cast<std::size_t>(i)] = exact_product(C, row, row);
  });
  // Rows may have more terms than one block of K: gamma of C + 2 covers both sums, doubled for f64's own error.
  const double gamma = 2 * static_cast<double>(C + 2) * 0x1p-24;
  const double bound_b = gamma * std::sqrt(*std::max_element(squares.begin(), squares.end()));

  parallel_for((N + tile_rows_of_a - 1) / tile_rows_of_a, [&, N = N, C = C](std::int64_t tile) {
    const std::int64_t first = tile * tile_rows_of_a, rows = std::min(tile_rows_of_a, N - first);
    thread_local std::vector<float> scores;
    thread_local std::vector<Best<float>> proposed;
    scores.resize(static_cast<std::size_t>(tile_rows_of_a * tile_rows_of_b));
    proposed.resize(static_cast<std::size_t>(tile_rows_of_a));
    for (auto& p : proposed) p.reset(static_cast<std::size_t>(kept));
    for (std::int64_t m = 0; m < M; m += tile_rows_of_b) {
      const std::int64_t columns = std::min(tile_rows_of_b, M - m);
      gemm_serial<float>(rows, columns, C, a.a.device_row<float>(first), a.a.row_stride(), 1, b.data() + m * C, 1, C,
                         scores.data(), tile_rows_of_b, false);
      for (std::int64_t r = 0; r < rows; ++r)
        scan(scores.data() + r * tile_rows_of_b, ids.data() + m, columns, proposed[static_cast<std::size_t>(r)]);
    }
    Best<double> best;
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* x = a.a.device_row<float>(first + r);
      const Best<float>& p = proposed[static_cast<std::size_t>(r)];
      best.reset(static_cast<std::size_t>(k));
      for (const auto& f : p.found()) best.offer({exact_product(C, x, a.b.device_row<float>(f.id)), f.id});
      const double bound = bound_b * std::sqrt(exact_product(C, x, x));
      if (kept < M && !(best.worst() > double(p.worst()) + bound)) {
        best.reset(static_cast<std::size_t>(k));
        for (std::int64_t m = 0; m < M; ++m)
          best.offer({exact_product(C, x, a.b.device_row<float>(m)), static_cast<std::int32_t>(m)});
      }
      for (std::int64_t j = 0; j < k; ++j) {
        const auto& f = best.found()[static_cast<std::size_t>(j)];
        a.ids.device_row<std::int32_t>(first + r)[j] = f.id;
        a.scores.device_row<float>(first + r)[j] = static_cast<float>(f.score);
      }
    }
  });
}

}  // namespace ov::kernels::cpu
