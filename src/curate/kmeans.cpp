#include "curate/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/sum.h"
#include "kernels/nearest.h"

namespace ov {
namespace {

constexpr std::int64_t part_rows = 16384, grain = 64;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double squared_distance(std::int64_t C, const float* x, const float* y) {
  return sum<double>(C, [&](std::int64_t c) {
    const double d = double(x[c]) - double(y[c]);
    return d * d;
  });
}

// [x, a, b] of every row x.
template <class F>
Tensor with_two(const Tensor& rows, F two) {
  const auto [N, C] = rows.dims<2>();
  const Tensor out({N, C + 2}, Dtype::f32, cpu(), Segment::data);
  parallel_for(N, grain, [&, C = C](std::int64_t n) {
    std::copy_n(rows.row<float>(n), C, out.row<float>(n));
    two(rows.row<float>(n), out.row<float>(n) + C);
  });
  return out;
}

}  // namespace

Assignment assign(const Tensor& rows, const Tensor& centres) {
  const auto [N, C] = rows.dims<2>();
  const Tensor x = with_two(rows, [](const float*, float* two) { two[0] = two[1] = 1; });
  const Tensor c = with_two(centres, [C = C](const float* row, float* two) {
    const double half = -dot<double>(C, row, row) / 2;
    two[0] = static_cast<float>(half);
    two[1] = static_cast<float>(half - double(two[0]));
  });
  const Tensor ids({N, 1}, Dtype::i32, cpu()), scores({N, 1}, Dtype::f32, cpu());
  kernels::nearest({.ids = ids, .scores = scores, .a = x, .b = c});
  Assignment out{ids.to_vector<std::int32_t>(), std::vector<double>(at(N))};
  parallel_for(N, grain, [&, C = C](std::int64_t n) {
    out.distance[at(n)] = squared_distance(C, rows.row<float>(n), centres.row<float>(out.cluster[at(n)]));
  });
  return out;
}

ClusterSums sums_of(const Tensor& rows, const Assignment& a, std::int64_t first) {
  const auto [N, C] = rows.dims<2>();
  std::vector<std::int64_t> order(at(N));  // by cluster, within one by row
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t i, std::int64_t j) { return a.cluster[at(i)] < a.cluster[at(j)]; });
  ClusterSums out;
  std::vector<std::int64_t> begin;
  for (std::int64_t i = 0; i < N; ++i)
    if (const std::int32_t c = a.cluster[at(order[at(i)])]; out.cluster.empty() || out.cluster.back() != c)
      out.cluster.push_back(c), begin.push_back(i);
  begin.push_back(N);
  const auto m = static_cast<std::int64_t>(out.cluster.size());
  out.count.resize(at(m)), out.farthest.resize(at(m)), out.distance.resize(at(m)), out.sum.resize(at(m * C));
  parallel_for(m, [&, C = C](std::int64_t k) {
    double* sum = out.sum.data() + k * C;
    out.count[at(k)] = begin[at(k) + 1] - begin[at(k)];
    out.distance[at(k)] = -1;
    for (std::int64_t i = begin[at(k)]; i < begin[at(k) + 1]; ++i) {
      const std::int64_t n = order[at(i)];
      const float* x = rows.row<float>(n);
      for (std::int64_t c = 0; c < C; ++c) sum[c] += double(x[c]);
      if (a.distance[at(n)] > out.distance[at(k)])
        out.distance[at(k)] = a.distance[at(n)], out.farthest[at(k)] = first + n;
    }
  });
  out.objective = sum<double>(N, [&](std::int64_t n) { return a.distance[at(n)]; });
  return out;
}

Clusters::Clusters(std::int64_t K, std::int64_t C)
    : sum_(at(K * C)), count_(at(K)), farthest_(at(K), -1), distance_(at(K), -1) {}

void Clusters::add(const ClusterSums& part) {
  const std::int64_t C = static_cast<std::int64_t>(sum_.size()) / size();
  parallel_for(static_cast<std::int64_t>(part.cluster.size()), grain, [&](std::int64_t j) {
    const std::int64_t k = part.cluster[at(j)];
    for (std::int64_t c = 0; c < C; ++c) sum_[at(k * C + c)] += part.sum[at(j * C + c)];
    count_[at(k)] += part.count[at(j)];
    if (part.distance[at(j)] > distance_[at(k)])
      distance_[at(k)] = part.distance[at(j)], farthest_[at(k)] = part.farthest[at(j)];
  });
  objective_ += part.objective;
}

std::int64_t Clusters::empty() const { return std::count(count_.begin(), count_.end(), 0); }

Tensor Clusters::means(const Tensor& centres) const {
  const Tensor out = centres.contiguous_copy(Segment::data);
  const std::int64_t C = centres.dim(1);
  parallel_for(size(), grain, [&](std::int64_t k) {
    for (std::int64_t c = 0; count_[at(k)] && c < C; ++c)
      out.row<float>(k)[c] = static_cast<float>(sum_[at(k * C + c)] / static_cast<double>(count_[at(k)]));
  });
  return out;
}

std::int64_t Clusters::fill_empty(const Tensor& centres, const std::function<Tensor(std::int64_t)>& row) const {
  std::vector<std::int64_t> from;  // those that can give a row: larger first
  for (std::int64_t k = 0; k < size(); ++k)
    if (distance_[at(k)] > 0) from.push_back(k);
  std::stable_sort(from.begin(), from.end(),
                   [&](std::int64_t i, std::int64_t j) { return count_[at(i)] > count_[at(j)]; });
  std::int64_t filled = 0;
  for (std::int64_t k = 0; k < size() && filled < static_cast<std::int64_t>(from.size()); ++k)
    if (count_[at(k)] == 0)
      std::copy_n(row(farthest_[at(from[at(filled++)])]).row<float>(0), centres.dim(1), centres.row<float>(k));
  return filled;
}

Tensor first_centres(const Tensor& rows, std::int64_t K, std::uint64_t seed, std::uint64_t step) {
  const auto [N, C] = rows.dims<2>();
  if (K < 1 || K > N) input_error("k-means: ", K, " clusters of ", N, " rows");
  const Philox random(seed, "k-means++", step);
  const Tensor out({K, C}, Dtype::f32, cpu(), Segment::data);
  std::vector<double> nearest(at(N), std::numeric_limits<double>::infinity()), upto(at(N));
  std::vector<bool> taken(at(N));
  for (std::int64_t k = 0; k < K; ++k) {
    std::int64_t chosen = 0;
    if (k == 0) {
      chosen = static_cast<std::int64_t>(random.below(0, static_cast<std::uint64_t>(N)));
    } else {
      std::partial_sum(nearest.begin(), nearest.end(), upto.begin());
      const double u = random.uniform_f64(static_cast<std::uint64_t>(2 * k)) * upto.back();
      chosen = std::upper_bound(upto.begin(), upto.end(), u) - upto.begin();
      // Every row is a centre already, or rounding went past the last one that is none.
      if (chosen == N) chosen = std::find(taken.begin(), taken.end(), false) - taken.begin();
    }
    taken[at(chosen)] = true;
    std::copy_n(rows.row<float>(chosen), C, out.row<float>(k));
    parallel_for(N, grain, [&, C = C](std::int64_t n) {
      nearest[at(n)] = std::min(nearest[at(n)], squared_distance(C, rows.row<float>(n), out.row<float>(k)));
    });
  }
  return out;
}

bool settled(const KmeansOptions& o, std::int64_t iteration, double before, double now) {
  return iteration >= o.iterations || (std::isfinite(before) && before - now <= o.tolerance * before);
}

Tensor kmeans(const Tensor& rows, const KmeansOptions& o) {
  const auto [N, C] = rows.dims<2>();
  Tensor centres = first_centres(rows, o.K, o.seed, o.step);
  const auto row = [&](std::int64_t i) { return rows.slice(0, i, i + 1); };
  double before = std::numeric_limits<double>::infinity();
  std::int64_t empty = o.K;
  for (std::int64_t iteration = 0;; ++iteration) {
    Clusters clusters(o.K, C);
    for (std::int64_t begin = 0; begin < N; begin += part_rows) {
      const Tensor part = rows.slice(0, begin, std::min(begin + part_rows, N));
      clusters.add(sums_of(part, assign(part, centres), begin));
    }
    const bool done = settled(o, iteration, before, clusters.objective());
    if (done && clusters.empty() == 0) return centres;
    if (!done) centres = clusters.means(centres);
    const bool stuck = clusters.stuck(before, empty);
    if (clusters.empty() && (clusters.fill_empty(centres, row) == 0 || stuck) && done) {  // fewer different rows than K
      std::vector<float> kept;
      for (std::int64_t k = 0; k < o.K; ++k)
        if (clusters.counts()[at(k)]) kept.insert(kept.end(), centres.row<float>(k), centres.row<float>(k) + C);
      return Tensor::of(kept, {static_cast<std::int64_t>(kept.size()) / C, C});
    }
    before = clusters.objective(), empty = clusters.empty();
  }
}

std::vector<std::int64_t> shares_of(std::int64_t K, const std::vector<std::int64_t>& counts) {
  const auto all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  std::vector<std::int64_t> shares(counts.size(), 1);
  std::int64_t left = K - static_cast<std::int64_t>(counts.size());
  const auto spare = static_cast<double>(left);
  std::vector<std::pair<double, std::size_t>> fractions;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double exact = spare * (static_cast<double>(counts[i]) / all);
    const auto whole = std::min({static_cast<std::int64_t>(exact), counts[i] - 1, left});
    shares[i] += whole, left -= whole;
    fractions.push_back({std::floor(exact) - exact, i});
  }
  std::sort(fractions.begin(), fractions.end());
  while (left > 0) {
    const std::int64_t before = left;
    for (const auto& [fraction, i] : fractions)
      if (left > 0 && shares[i] < counts[i]) ++shares[i], --left;
    if (left == before) input_error("k-means: ", K, " centres for ", all, " rows");
  }
  return shares;
}

Agreement agreement(const std::vector<std::int32_t>& cluster, const std::vector<std::int32_t>& name) {
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> both;
  std::map<std::int32_t, std::int64_t> clusters, names, commonest;
  for (std::size_t i = 0; i < cluster.size(); ++i)
    ++both[{cluster[i], name[i]}], ++clusters[cluster[i]], ++names[name[i]];
  const auto N = static_cast<double>(cluster.size());
  const auto entropy = [&](const auto& counts) {
    double h = 0;
    for (const auto& [key, n] : counts) h -= static_cast<double>(n) / N * std::log(static_cast<double>(n) / N);
    return h;
  };
  for (const auto& [pair, n] : both) commonest[pair.first] = std::max(commonest[pair.first], n);
  Agreement out;
  for (const auto& [k, n] : commonest) out.purity += static_cast<double>(n) / N;
  const double hc = entropy(clusters), hn = entropy(names), shared = hc + hn - entropy(both);
  out.nmi = hc + hn > 0 ? 2 * shared / (hc + hn) : 1;
  return out;
}

}  // namespace ov
