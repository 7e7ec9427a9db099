#include "curate/random_pairs.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/rng.h"
#include "base/sum.h"

namespace ov {
namespace {

constexpr std::uint64_t seed = 1;

// Row i of the pool, of length 1.
Tensor direction(const EmbeddingPool& pool, std::int64_t i) {
  const auto above = std::upper_bound(pool.parts.begin(), pool.parts.end(), i,
                                      [](std::int64_t n, const auto& part) { return n < part.first; });
  const auto& p = *std::prev(above);
  const std::int64_t at = p.begin + i - p.first;
  return pool.files[p.file].directions(at, at + 1);
}

}  // namespace

RandomPairs random_pairs(const EmbeddingPool& pool, std::array<double, 2> thresholds,
                         const std::function<bool(std::int64_t, std::int64_t)>& apart) {
  RandomPairs out;
  out.threshold = thresholds;
  std::vector<double> cosines;
  const Philox random(seed, "dedup random pairs");
  const auto rows = static_cast<std::uint64_t>(pool.size);
  for (std::uint64_t k = 0; rows > 1 && k < RandomPairs::most; ++k) {
    const auto a = static_cast<std::int64_t>(random.below(2 * k, rows));
    const auto b = static_cast<std::int64_t>(random.below(2 * k + 1, rows));
    if (a == b || !apart(a, b)) continue;
    const Tensor x = direction(pool, a), y = direction(pool, b);
    cosines.push_back(dot<double>(x.dim(1), x.data<float>(), y.data<float>()));
  }
  out.pairs = std::ssize(cosines);
  if (cosines.empty()) return out;
  std::sort(cosines.begin(), cosines.end());
  const auto at = [&](double q) { return cosines[static_cast<std::size_t>(q * static_cast<double>(out.pairs - 1))]; };
  out.mean = std::accumulate(cosines.begin(), cosines.end(), 0.0) / static_cast<double>(out.pairs);
  out.median = at(0.5), out.upper = at(0.99), out.largest = cosines.back();
  for (std::size_t t = 0; t < 2; ++t) {
    const auto reach = cosines.end() - std::lower_bound(cosines.begin(), cosines.end(), thresholds[t]);
    out.share[t] = static_cast<double>(reach) / static_cast<double>(out.pairs);
  }
  return out;
}

Json RandomPairs::json() const {
  return Json::object({{"pairs", pairs},
                       {"mean", mean},
                       {"median", median},
                       {"quantile_0.99", upper},
                       {"largest", largest},
                       {"cosine", threshold[0]},
                       {"share_at_or_above", share[0]},
                       {"against_cosine", threshold[1]},
                       {"share_at_or_above_against", share[1]}});
}

std::string RandomPairs::str() const {
  char text[240];
  std::snprintf(
      text, sizeof text,
      "random pairs have a cosine of %.3f on average, 99 %% of them below %.3f, at most %.3f; dedup.cosine is "
      "%.3f",
      mean, upper, largest, threshold[0]);
  return text;
}

std::string RandomPairs::warning(std::int64_t left_out, std::int64_t records) const {
  const bool own = share[0] >= too_many, evaluations = share[1] >= too_many, half = 2 * left_out > records;
  if (pairs == 0 || (!own && !evaluations && !half)) return "";
  char text[400];
  std::snprintf(text, sizeof text, "%.1f %% of random pairs reach %s%.3f, and %lld of %lld records are left out by it",
                100 * (own || !evaluations ? share[0] : share[1]),
                own || !evaluations ? "dedup.cosine " : "dedup.against_cosine ",
                own || !evaluations ? threshold[0] : threshold[1], static_cast<long long>(left_out),
                static_cast<long long>(records));
  return str() + ": " + text +
         ". This CLIP hardly tells pictures apart at that threshold: raise it, or embed with another";
}

}  // namespace ov
