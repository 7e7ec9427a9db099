// data_curation.md 9, acceptance 1 to 4, on the rule alone: a pool with Zipf-distributed concepts.
#include "curate/sampling.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"

using namespace ov;

namespace {

// k different concepts a picture, concept c with a chance of about 1 / (c + 1)^1.1.
ConceptLists zipf_pool(std::int64_t n, std::int64_t concepts, std::int64_t k) {
  std::vector<double> upto;
  for (std::int64_t c = 0; c < concepts; ++c)
    upto.push_back((upto.empty() ? 0 : upto.back()) + std::pow(static_cast<double>(c + 1), -1.1));
  const Philox random(5, "pool");
  ConceptLists lists{k, {}};
  std::uint64_t draw = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto first = static_cast<std::ptrdiff_t>(lists.ids.size());
    while (static_cast<std::int64_t>(lists.ids.size()) < (i + 1) * k) {
      const auto at = std::upper_bound(upto.begin(), upto.end(), random.uniform_f64(draw++) * upto.back());
      const auto c = static_cast<std::int32_t>(std::min<std::ptrdiff_t>(at - upto.begin(), concepts - 1));
      if (std::find(lists.ids.begin() + first, lists.ids.end(), c) == lists.ids.end()) lists.ids.push_back(c);
    }
  }
  return lists;
}

std::vector<double> numbers(std::uint64_t seed, std::int64_t n) {
  std::vector<double> u;
  for (std::int64_t i = 0; i < n; ++i) u.push_back(drawn_number(seed, cat("pool:", i)));
  return u;
}

double total(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

std::vector<std::int64_t> drawn_counts(const ConceptLists& lists, std::int64_t concepts,
                                       const std::vector<std::int32_t>& draws) {
  std::vector<std::int64_t> f(static_cast<std::size_t>(concepts));
  for (std::int64_t i = 0; i < lists.size(); ++i)
    for (const std::int32_t c : lists.of(i)) f[static_cast<std::size_t>(c)] += draws[static_cast<std::size_t>(i)];
  return f;
}

}  // namespace

TEST_CASE("acceptance 1: the weights add up to the number of concepts that any picture has") {
  for (const std::int64_t k : {1, 5}) {
    const ConceptLists lists = zipf_pool(20000, 1000, k);
    const auto f = concept_counts(lists, 1300);  // 300 that none has
    const auto covered = static_cast<double>(evenness(f).covered);
    CHECK(covered <= 1000);
    CHECK(std::abs(total(concept_weights(lists, f, ConceptWeight::sum)) / covered - 1) <= 1e-9);
    CHECK(std::abs(total(concept_weights(lists, f, ConceptWeight::mean)) * static_cast<double>(k) / covered - 1) <=
          1e-9);
    const bool one = k == 1;
    CHECK((std::abs(total(concept_weights(lists, f, ConceptWeight::max)) / covered - 1) <= 1e-9) == one);
    CHECK(scale_for(concept_weights(lists, f, ConceptWeight::sum), 10) == doctest::Approx(10 / covered).epsilon(1e-12));
  }
}

TEST_CASE("acceptance 2: the selected size is n, within 4 sqrt(n), or exactly") {
  const ConceptLists lists = zipf_pool(20000, 500, 5);
  const auto f = concept_counts(lists, 500);
  const auto w = concept_weights(lists, f, ConceptWeight::sum);
  for (const std::int64_t n : {50, 2000, 15000, 19999}) {
    const double size = static_cast<double>(n);
    const auto p = inclusion(w, scale_for(w, size));
    CHECK(std::abs(total(p) - size) <= 1e-9 * size);
    CHECK(*std::max_element(p.begin(), p.end()) <= 1);
    const double t = metaclip_threshold(lists, f, size);
    CHECK(std::abs(total(metaclip_inclusion(lists, f, t)) - size) <= 1e-6 * size);
    for (const std::uint64_t seed : {1, 2, 3}) {
      const auto u = numbers(seed, lists.size());
      const auto drawn = draw_poisson(p, u);
      CHECK(std::abs(std::accumulate(drawn.begin(), drawn.end(), 0.0) - size) <= 4 * std::sqrt(size));
      const auto exact = draw_exact(w, u, n);
      CHECK(std::accumulate(exact.begin(), exact.end(), std::int64_t{0}) == n);
      CHECK(*std::max_element(exact.begin(), exact.end()) == 1);
      const auto again = draw_with_replacement(w, n, seed);
      CHECK(std::accumulate(again.begin(), again.end(), std::int64_t{0}) == n);
    }
  }
  CHECK(std::isinf(scale_for(w, 20000)));  // all of them
  const auto all = inclusion(w, scale_for(w, 20001));
  CHECK(std::all_of(all.begin(), all.end(), [](double p) { return p == 1; }));
  CHECK(inclusion({0, 2}, scale_for({0, 2}, 5)) == std::vector<double>{0, 1});  // never what weighs nothing
}

TEST_CASE("acceptance 3: concepts are more even in what is drawn than in the pool, and than in a random draw") {
  const ConceptLists lists = zipf_pool(50000, 1000, 5);
  const auto f = concept_counts(lists, 1000);
  const auto u = numbers(1, lists.size());
  const double n = 5000;
  const Evenness pool = evenness(f);
  const auto evenness_of = [&](const std::vector<double>& p) {
    return evenness(drawn_counts(lists, 1000, draw_poisson(p, u)));
  };
  const Evenness random = evenness_of(std::vector<double>(50000, n / 50000));
  CHECK(std::abs(random.gini - pool.gini) < 0.05);
  const auto by = [&](ConceptWeight how) {
    const auto w = concept_weights(lists, f, how);
    return evenness_of(inclusion(w, scale_for(w, n)));
  };
  const Evenness metaclip = evenness_of(metaclip_inclusion(lists, f, metaclip_threshold(lists, f, n)));
  for (const Evenness& e : {by(ConceptWeight::sum), by(ConceptWeight::max), metaclip}) {
    CHECK(e.gini < random.gini - 0.05);
    CHECK(e.effective > 1.2 * random.effective);
    CHECK(e.covered >= random.covered);
  }
  // One concept a picture: flat, but for the concepts that are kept whole.
  const ConceptLists one = zipf_pool(50000, 20, 1);
  const auto f1 = concept_counts(one, 20);
  const auto w1 = concept_weights(one, f1, ConceptWeight::sum);
  for (const std::int64_t c : drawn_counts(one, 20, draw_poisson(inclusion(w1, scale_for(w1, 4000)), u)))
    CHECK(std::abs(static_cast<double>(c) - 200) < 4 * std::sqrt(200.0));
}

TEST_CASE("acceptance 4: over 1000 seeds fixed pictures are drawn as often as their probabilities say") {
  const ConceptLists lists = zipf_pool(400, 60, 3);
  const auto w = concept_weights(lists, concept_counts(lists, 60), ConceptWeight::sum);
  const auto p = inclusion(w, scale_for(w, 100));
  std::vector<double> often(400);
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const auto drawn = draw_poisson(p, numbers(seed, 400));
    for (std::size_t i = 0; i < 400; ++i) often[i] += drawn[i];
  }
  const auto chi_squared = [&](const std::vector<double>& expected) {
    double sum = 0;
    for (std::size_t i = 0; i < 400; ++i)
      if (p[i] < 1) sum += std::pow(often[i] - 1000 * expected[i], 2) / (1000 * expected[i] * (1 - expected[i]));
    return sum;
  };
  const auto free = static_cast<double>(std::count_if(p.begin(), p.end(), [](double x) { return x < 1; }));
  CHECK(chi_squared(p) < free + 4 * std::sqrt(2 * free));
  CHECK(chi_squared(p) > free - 4 * std::sqrt(2 * free));
  std::vector<double> wrong = p;  // the twin: 8 % off
  for (double& x : wrong) x = std::min(0.999, 1.08 * x);
  CHECK(chi_squared(wrong) > free + 4 * std::sqrt(2 * free));
  for (std::size_t i = 0; i < 400; ++i)
    if (p[i] == 1) CHECK(often[i] == 1000);
}

TEST_CASE("scale and draw by passes: what sorting all weights gives, equal ones and bits apart by one too") {
  const Philox random(9, "weights");
  for (int round = 0; round < 40; ++round) {
    std::vector<double> w;
    const auto size = static_cast<std::int64_t>(1 + random.below(static_cast<std::uint64_t>(round), 400));
    for (std::int64_t i = 0; i < size; ++i) {
      const double u = random.uniform_f64(static_cast<std::uint64_t>(1000 * (round + 1) + i));
      w.push_back(round % 4 == 0   ? std::floor(5 * u)                            // many equal, some zero
                  : round % 4 == 1 ? std::exp(40 * u - 20)                        // far apart
                  : round % 4 == 2 ? 1 + std::floor(4 * u) * 0x1p-52              // neighbours
                                   : (u < 0.1 ? 0 : 1 / std::floor(1 + 9 * u)));  // inverse counts
    }
    std::vector<double> falling;
    for (const double x : w)
      if (x > 0) falling.push_back(x);
    std::sort(falling.rbegin(), falling.rend());
    for (const double share : {0.0001, 0.1, 0.5, 0.9, 0.999}) {
      const double n = share * static_cast<double>(falling.size());
      double expected = 0;
      for (std::size_t s = 0; s < falling.size(); ++s) {
        double rest = 0;
        for (std::size_t i = falling.size(); i-- > s;) rest += falling[i];
        expected = (n - static_cast<double>(s)) / rest;
        if (expected * falling[s] <= 1 + 1e-13) break;
      }
      if (!falling.empty()) CHECK(std::abs(scale_for(w, n) / expected - 1) <= 1e-12);
    }
    for (const std::int64_t n : {std::int64_t{0}, std::int64_t{1}, size / 3, size - 1, size, size + 1}) {
      std::vector<std::int64_t> order(w.size());
      std::iota(order.begin(), order.end(), 0);
      const auto at = [&](std::int64_t i) { return w[static_cast<std::size_t>(i)]; };
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t i, std::int64_t j) { return at(i) < at(j); });
      Smallest s = smallest(
          [&](const std::function<void(double)>& f) {
            for (const double x : w) f(x);
          },
          n);
      std::vector<std::int64_t> found, first(order.begin(), order.begin() + std::min(n, size));
      for (std::int64_t i = 0; i < size; ++i)
        if (at(i) < s.below || (at(i) == s.below && s.ties-- > 0)) found.push_back(i);
      std::sort(first.begin(), first.end());
      CHECK(found == first);
    }
  }
}

TEST_CASE("evenness: of equal counts, and of one alone") {
  const Evenness even = evenness({3, 3, 3, 3}), one = evenness({0, 0, 8, 0});
  CHECK(even.gini == doctest::Approx(0));
  CHECK(even.effective == doctest::Approx(4));
  CHECK(one.gini == doctest::Approx(0.75));
  CHECK(one.effective == doctest::Approx(1));
  CHECK(one.covered == 1);
}
