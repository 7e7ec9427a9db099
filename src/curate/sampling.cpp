#include "curate/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/sum.h"

namespace ov {
namespace {

double total(const std::vector<double>& v) {
  return sum<double>(static_cast<std::int64_t>(v.size()),
                     [&](std::int64_t i) { return v[static_cast<std::size_t>(i)]; });
}

}  // namespace

std::vector<std::int64_t> concept_counts(const ConceptLists& lists, std::int64_t concepts) {
  std::vector<std::int64_t> f(static_cast<std::size_t>(concepts));
  for (const std::int32_t c : lists.ids)
    if (c >= 0) ++f[static_cast<std::size_t>(c)];
  return f;
}

std::vector<double> concept_weights(const ConceptLists& lists, const std::vector<std::int64_t>& counts,
                                    ConceptWeight how) {
  std::vector<double> w(static_cast<std::size_t>(lists.size()));
  parallel_for(lists.size(), 1024, [&](std::int64_t i) {
    double sum = 0, largest = 0;
    int terms = 0;
    for (const std::int32_t c : lists.of(i)) {
      if (c < 0) continue;
      const double term = 1 / static_cast<double>(counts[static_cast<std::size_t>(c)]);
      sum += term, largest = std::max(largest, term), ++terms;
    }
    w[static_cast<std::size_t>(i)] = how == ConceptWeight::max             ? largest
                                     : how == ConceptWeight::mean && terms ? sum / terms
                                                                           : sum;
  });
  return w;
}

double scale_for(const std::vector<double>& weights, double n) {
  std::vector<double> rising;
  for (const double w : weights)
    if (w > 0) rising.push_back(w);
  if (static_cast<double>(rising.size()) <= n) return std::numeric_limits<double>::infinity();
  std::sort(rising.begin(), rising.end());
  std::vector<double> below(rising.size() + 1);  // Σ of the i smallest
  std::partial_sum(rising.begin(), rising.end(), below.begin() + 1);
  // With the s largest kept for certain the others share n - s: λ is theirs. The right s is the first for which no
  // other would pass 1.
  for (std::size_t s = 0; s < rising.size(); ++s) {
    const std::size_t rest = rising.size() - s;
    const double lambda = (n - static_cast<double>(s)) / below[rest];
    if (lambda * rising[rest - 1] <= 1) return lambda;
  }
  return std::numeric_limits<double>::infinity();
}

std::vector<double> inclusion(const std::vector<double>& weights, double lambda) {
  std::vector<double> p(weights.size());
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = weights[i] > 0 ? std::min(1.0, lambda * weights[i]) : 0;
  return p;
}

std::vector<double> metaclip_inclusion(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double t) {
  std::vector<double> p(static_cast<std::size_t>(lists.size()));
  parallel_for(lists.size(), 1024, [&](std::int64_t i) {
    double lost = 1;
    for (const std::int32_t c : lists.of(i))
      if (c >= 0) lost *= 1 - std::min(1.0, t / static_cast<double>(counts[static_cast<std::size_t>(c)]));
    p[static_cast<std::size_t>(i)] = 1 - lost;
  });
  return p;
}

double metaclip_threshold(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double n) {
  double low = 0, high = counts.empty() ? 0 : static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  if (total(metaclip_inclusion(lists, counts, high)) <= n) return high;
  for (int halving = 0; halving < 200; ++halving) {  // until the two are neighbours
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (total(metaclip_inclusion(lists, counts, middle)) < n ? low : high) = middle;
  }
  return high;
}

double drawn_number(std::uint64_t seed, const std::string& id) {
  return Philox(seed, "balance").uniform_f64(fnv1a(id));
}

std::vector<std::int32_t> draw_poisson(const std::vector<double>& inclusion, const std::vector<double>& u) {
  std::vector<std::int32_t> drawn(inclusion.size());
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = u[i] < inclusion[i];
  return drawn;
}

std::vector<std::int32_t> draw_exact(const std::vector<double>& weights, const std::vector<double>& u, std::int64_t n) {
  std::vector<std::pair<double, std::size_t>> waits;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0) waits.push_back({-std::log1p(-u[i]) / weights[i], i});
  const std::size_t kept = std::min(waits.size(), static_cast<std::size_t>(n));
  std::nth_element(waits.begin(), waits.begin() + static_cast<std::ptrdiff_t>(kept), waits.end());
  std::vector<std::int32_t> drawn(weights.size());
  for (std::size_t i = 0; i < kept; ++i) drawn[waits[i].second] = 1;
  return drawn;
}

std::vector<std::int32_t> draw_with_replacement(const std::vector<double>& weights, std::int64_t n,
                                                std::uint64_t seed) {
  std::vector<double> upto(weights.size());
  std::partial_sum(weights.begin(), weights.end(), upto.begin());
  std::vector<std::int32_t> drawn(weights.size());
  if (upto.empty() || !(upto.back() > 0)) return drawn;
  const Philox random(seed, "balance with replacement");
  for (std::int64_t d = 0; d < n; ++d) {
    const double at = random.uniform_f64(static_cast<std::uint64_t>(d)) * upto.back();
    const auto i = std::upper_bound(upto.begin(), upto.end(), at) - upto.begin();
    ++drawn[std::min(static_cast<std::size_t>(i), drawn.size() - 1)];
  }
  return drawn;
}

Evenness evenness(std::vector<std::int64_t> counts) {
  std::sort(counts.begin(), counts.end());
  const double n = static_cast<double>(counts.size());
  double all = 0, weighted = 0, entropy = 0;
  Evenness e;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    all += static_cast<double>(counts[i]);
    weighted += static_cast<double>(i + 1) * static_cast<double>(counts[i]);
  }
  if (all == 0) return e;
  for (const std::int64_t c : counts) {
    if (c == 0) continue;
    ++e.covered;
    const double share = static_cast<double>(c) / all;
    entropy -= share * std::log(share);
  }
  e.gini = 2 * weighted / (n * all) - (n + 1) / n;
  e.effective = std::exp(entropy);
  return e;
}

}  // namespace ov
