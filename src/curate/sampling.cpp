#include "curate/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

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

EachNumber each_of(const std::vector<double>& v) {
  return [&v](const std::function<void(double)>& f) {
    for (const double x : v) f(x);
  };
}

// Numbers that are not negative are ordered as their bits are. Of those whose bits begin with `prefix`, by the next 16
// bits: how many, their sum, and the least of them, with how many are equal to it.
constexpr std::size_t digits = 1 << 16;
struct Pass {
  std::vector<std::int64_t> count = std::vector<std::int64_t>(digits), least_count = count;
  std::vector<double> sum = std::vector<double>(digits), least = sum;
  Pass(const EachNumber& numbers, std::uint64_t prefix, int shift) {
    numbers([&](double x) {
      const auto bits = std::bit_cast<std::uint64_t>(x);
      if (shift < 48 && bits >> (shift + 16) != prefix) return;
      const std::size_t d = bits >> shift & (digits - 1);
      if (count[d]++ == 0 || x < least[d]) least[d] = x, least_count[d] = 0;
      least_count[d] += x == least[d], sum[d] += x;
    });
  }
};

}  // namespace

std::vector<std::int64_t> concept_counts(const ConceptLists& lists, std::int64_t concepts) {
  std::vector<std::int64_t> f(static_cast<std::size_t>(concepts));
  for (const std::int32_t c : lists.ids)
    if (c >= 0) ++f[static_cast<std::size_t>(c)];
  return f;
}

double concept_weight(std::span<const std::int32_t> list, const std::vector<std::int64_t>& counts, ConceptWeight how) {
  double sum = 0, largest = 0;
  int terms = 0;
  for (const std::int32_t c : list) {
    if (c < 0) continue;
    const double term = 1 / static_cast<double>(counts[static_cast<std::size_t>(c)]);
    sum += term, largest = std::max(largest, term), ++terms;
  }
  return how == ConceptWeight::max ? largest : how == ConceptWeight::mean && terms ? sum / terms : sum;
}

double metaclip_probability(std::span<const std::int32_t> list, const std::vector<std::int64_t>& counts, double t) {
  double lost = 1;
  for (const std::int32_t c : list)
    if (c >= 0) lost *= 1 - std::min(1.0, t / static_cast<double>(counts[static_cast<std::size_t>(c)]));
  return 1 - lost;
}

std::vector<double> concept_weights(const ConceptLists& lists, const std::vector<std::int64_t>& counts,
                                    ConceptWeight how) {
  std::vector<double> w(static_cast<std::size_t>(lists.size()));
  parallel_for(lists.size(), 1024,
               [&](std::int64_t i) { w[static_cast<std::size_t>(i)] = concept_weight(lists.of(i), counts, how); });
  return w;
}

double scale_for(const EachNumber& weights, double n) {
  // A weight v is kept for certain when, were it the largest that is not, its share would pass 1: with s larger ones,
  // (n - s) v > Σ of those up to v. What holds for v holds for all above it, so the largest v for which it does not is
  // looked for, from the top; of those that begin with the same bits the smallest decides for all.
  std::int64_t all = 0;
  weights([&](double w) { all += w > 0; });
  if (static_cast<double>(all) <= n) return std::numeric_limits<double>::infinity();
  double kept = 0, below = 0;  // s, and Σ of what is below all that the last pass looked at
  std::uint64_t prefix = 0;
  for (int shift = 48;; shift -= 16) {
    const Pass pass(weights, prefix, shift);
    std::vector<double> upto(digits + 1, below);  // Σ below each digit
    for (std::size_t d = 0; d < digits; ++d) upto[d + 1] = upto[d] + pass.sum[d];
    std::size_t d = digits - 1;
    for (; d > 0; --d) {
      if (pass.count[d] == 0) continue;
      const auto count = static_cast<double>(pass.count[d]), least = static_cast<double>(pass.least_count[d]);
      if ((n - kept - (count - least)) * pass.least[d] <= upto[d] + least * pass.least[d]) break;
      kept += count;
    }
    if (shift == 0) return (n - kept) / upto[d + 1];
    prefix = prefix << 16 | d, below = upto[d];
  }
}

double scale_for(const std::vector<double>& weights, double n) { return scale_for(each_of(weights), n); }

Smallest smallest(const EachNumber& numbers, std::int64_t n) {
  std::int64_t all = 0;
  numbers([&](double x) { all += std::isfinite(x); });
  if (all <= n) return {std::numeric_limits<double>::infinity(), 0};
  std::uint64_t prefix = 0;
  for (int shift = 48;; shift -= 16) {
    const Pass pass(numbers, prefix, shift);
    std::size_t d = 0;
    for (; d + 1 < digits && n > pass.count[d]; ++d) n -= pass.count[d];
    prefix = prefix << 16 | d;
    if (shift == 0) return {std::bit_cast<double>(prefix), n};
  }
}

std::vector<double> inclusion(const std::vector<double>& weights, double lambda) {
  std::vector<double> p(weights.size());
  for (std::size_t i = 0; i < p.size(); ++i) p[i] = weights[i] > 0 ? std::min(1.0, lambda * weights[i]) : 0;
  return p;
}

std::vector<double> metaclip_inclusion(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double t) {
  std::vector<double> p(static_cast<std::size_t>(lists.size()));
  parallel_for(lists.size(), 1024,
               [&](std::int64_t i) { p[static_cast<std::size_t>(i)] = metaclip_probability(lists.of(i), counts, t); });
  return p;
}

double metaclip_threshold(const std::function<double(double)>& expected, const std::vector<std::int64_t>& counts,
                          double n) {
  double low = 0, high = counts.empty() ? 0 : static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  if (expected(high) <= n) return high;
  for (int halving = 0; halving < 200; ++halving) {  // until the two are neighbours
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (expected(middle) < n ? low : high) = middle;
  }
  return high;
}

double metaclip_threshold(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double n) {
  return metaclip_threshold([&](double t) { return total(metaclip_inclusion(lists, counts, t)); }, counts, n);
}

double drawn_number(std::uint64_t seed, const std::string& id) {
  return Philox(seed, "balance").uniform_f64(fnv1a(id));
}

std::vector<std::int32_t> draw_poisson(const std::vector<double>& inclusion, const std::vector<double>& u) {
  std::vector<std::int32_t> drawn(inclusion.size());
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = u[i] < inclusion[i];
  return drawn;
}

double waiting_time(double weight, double u) {
  return weight > 0 ? -std::log1p(-u) / weight : std::numeric_limits<double>::infinity();
}

std::vector<std::int32_t> draw_exact(const std::vector<double>& weights, const std::vector<double>& u, std::int64_t n) {
  std::vector<double> waits;
  for (std::size_t i = 0; i < weights.size(); ++i) waits.push_back(waiting_time(weights[i], u[i]));
  Smallest s = smallest(each_of(waits), n);
  std::vector<std::int32_t> drawn(weights.size());
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = waits[i] < s.below || (waits[i] == s.below && s.ties-- > 0);
  return drawn;
}

ReplacementDraws::ReplacementDraws(std::int64_t n, double sum, std::uint64_t seed) {
  const Philox random(seed, "balance with replacement");
  for (std::int64_t d = 0; sum > 0 && d < n; ++d)
    at_.push_back(random.uniform_f64(static_cast<std::uint64_t>(d)) * sum);
  std::sort(at_.begin(), at_.end());
}

std::int32_t ReplacementDraws::next(double weight, bool last) {
  upto_ += weight;
  const std::size_t before = drawn_;
  while (drawn_ < at_.size() && (last || at_[drawn_] < upto_)) ++drawn_;
  return static_cast<std::int32_t>(drawn_ - before);
}

std::vector<std::int32_t> draw_with_replacement(const std::vector<double>& weights, std::int64_t n,
                                                std::uint64_t seed) {
  double sum = 0;
  for (const double w : weights) sum += w;
  ReplacementDraws draws(n, sum, seed);
  std::vector<std::int32_t> drawn;
  for (std::size_t i = 0; i < weights.size(); ++i) drawn.push_back(draws.next(weights[i], i + 1 == weights.size()));
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
