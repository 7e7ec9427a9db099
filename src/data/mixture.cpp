#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

namespace ov {
namespace {

constexpr std::int64_t longest_period = 1 << 20;

// Whole numbers that add up to `total` in these shares, those with the largest remainders rounded up.
std::vector<std::int64_t> apportioned(const std::vector<double>& shares, std::int64_t total) {
  std::vector<std::int64_t> out;
  std::vector<std::pair<double, std::size_t>> remainders;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double exact = shares[i] * static_cast<double>(total);
    out.push_back(static_cast<std::int64_t>(exact));
    remainders.push_back({static_cast<double>(out[i]) - exact, i});
  }
  std::sort(remainders.begin(), remainders.end());
  const std::int64_t missing = total - std::accumulate(out.begin(), out.end(), std::int64_t{0});
  for (std::int64_t k = 0; k < missing; ++k) ++out[remainders[static_cast<std::size_t>(k)].second];
  return out;
}

}  // namespace

Mixture::Mixture(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& draws,
                 const std::vector<double>& shares, const char* what)
    : first_{0} {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 1) input_error("mixture: set ", i + 1, " holds no record");
    if (shares[i] > 0 && draws[i] == 0)
      input_error("mixture: set ", i + 1, " of ", sizes[i], " records would never be drawn: its ", what, " ", shares[i],
                  " is less than one draw of a period; give it more, or 0");
    first_.push_back(first_.back() + sizes[i]);
    end_.push_back((end_.empty() ? 0 : end_.back()) + draws[i]);
  }
  if (end_.empty() || period() < 1) input_error("mixture: no data set has a share above 0");
}

Mixture Mixture::by_weight(const std::vector<std::int64_t>& sizes, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(sum > 0)) input_error("mixture: no data set has a weight above 0");
  std::vector<double> shares;
  for (const double w : weights) shares.push_back(w / sum);
  std::int64_t period = 1;
  const auto fits = [&](double share) {
    const double draws = share * static_cast<double>(period);
    return (share == 0 || draws > 0.5) && std::abs(draws - std::round(draws)) < 1e-9 * std::max(draws, 1.0);
  };
  while (period < longest_period && !std::all_of(shares.begin(), shares.end(), fits)) ++period;
  if (period < longest_period) {
    std::vector<std::int64_t> draws;
    for (const double s : shares) draws.push_back(std::llround(s * static_cast<double>(period)));
    return {sizes, draws, shares, "share"};
  }
  return {sizes, apportioned(shares, longest_period), shares, "share"};
}

Mixture Mixture::by_repetitions(const std::vector<std::int64_t>& sizes, const std::vector<double>& repetitions) {
  std::vector<std::int64_t> draws;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const double n = repetitions[i] * static_cast<double>(sizes[i]);
    if (!(n < 0x1p53)) input_error("mixture: ", repetitions[i], " repetitions of ", sizes[i], " records are too many");
    draws.push_back(std::llround(n));
  }
  return {sizes, draws, repetitions, "repetitions"};
}

Slot Mixture::at(std::int64_t place, std::uint64_t seed) const {
  const std::int64_t p = place / period();
  const std::int64_t q = Permutation(period(), mix64(seed, static_cast<std::uint64_t>(p)), 0)(place % period());
  const auto set = static_cast<std::size_t>(std::upper_bound(end_.begin(), end_.end(), q) - end_.begin());
  const std::int64_t n = first_[set + 1] - first_[set], k = p * draws(set) + q - (end_[set] - draws(set));
  const Permutation records(n, mix64(mix64(seed, ~std::uint64_t{set}), static_cast<std::uint64_t>(k / n)), 0);
  return {k / n, first_[set] + records(k % n)};
}

}  // namespace ov
