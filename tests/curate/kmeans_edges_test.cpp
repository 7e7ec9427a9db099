// What k-means and the weights of concepts do at their edges: ties, who gives a row, when it ends.
#include <doctest/doctest.h>

#include <cmath>

#include "base/rng.h"
#include "curate/balance.h"
#include "curate/embeddings.h"
#include "curate/kmeans.h"
#include "curate/sampling.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;

namespace {

Tensor rows_of(const std::vector<float>& values, std::int64_t C) {
  return Tensor::of(values, {static_cast<std::int64_t>(values.size()) / C, C});
}

}  // namespace

TEST_CASE("k-means: far from the origin too a row gets the centre that f64 finds") {
  constexpr std::int64_t C = 8, K = 60, N = 400;
  const Philox random(5, "far");
  const auto around = [&](std::int64_t n, std::uint64_t from, double spread) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < n * C; ++i)
      values.push_back(static_cast<float>(spread * random.normal(from + static_cast<std::uint64_t>(i))));
    return rows_of(values, C);
  };
  // Rows near nothing, centres of lengths that differ by little: which is nearest is said by |c|²/2 alone.
  const Tensor rows = around(N, 0, 1e-9);
  Tensor centres = around(K, 1 << 20, 1);
  for (std::int64_t k = 0; k < K; ++k) {
    double length = 0;
    for (std::int64_t c = 0; c < C; ++c) length += double(centres.row<float>(k)[c]) * centres.row<float>(k)[c];
    for (std::int64_t c = 0; c < C; ++c)
      centres.row<float>(k)[c] = static_cast<float>(centres.row<float>(k)[c] / std::sqrt(length));
  }
  const Assignment a = assign(rows, centres);
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < N; ++i) {
    std::int64_t best = 0;
    double least = 1e300;
    for (std::int64_t k = 0; k < K; ++k) {
      double d = 0;
      for (std::int64_t c = 0; c < C; ++c)
        d += std::pow(double(rows.row<float>(i)[c]) - double(centres.row<float>(k)[c]), 2);
      if (d < least) least = d, best = k;
    }
    wrong += a.cluster[static_cast<std::size_t>(i)] != best;
  }
  CHECK(wrong == 0);
}

TEST_CASE("k-means: of rows equally far from their centre the first is the farthest; the larger cluster gives one") {
  const Tensor centres = rows_of({0, 0, 10, 0, 99, 99}, 2);
  // Four rows about the first centre, two about the second; nobody is near the third.
  const Tensor rows = rows_of({1, 0, -1, 0, 0, 1, 0, 0, 10, 3, 10, 0}, 2);
  const ClusterSums sums = sums_of(rows, assign(rows, centres), 100);
  REQUIRE(sums.cluster == std::vector<std::int32_t>{0, 1});
  CHECK(sums.farthest == std::vector<std::int64_t>{100, 104});
  CHECK(sums.distance == std::vector<double>{1, 9});
  Clusters clusters(3, 2);
  clusters.add(sums);
  CHECK(clusters.empty() == 1);
  Tensor next = clusters.means(centres);
  std::vector<std::int64_t> asked;
  CHECK(clusters.fill_empty(next, [&](std::int64_t i) {
    asked.push_back(i);
    return rows.slice(0, i - 100, i - 99);
  }) == 1);
  CHECK(asked == std::vector<std::int64_t>{100});  // of the four, though the other's lies farther away
  CHECK(next.row<float>(2)[0] == 1);
}

TEST_CASE("k-means: it ends when the objective falls by a small share of itself, however small it is") {
  const KmeansOptions o{.iterations = 20, .tolerance = 1e-3};
  CHECK_FALSE(settled(o, 3, 1e-6, 0.9e-6));
  CHECK(settled(o, 3, 1e-6, 0.9999e-6));
  CHECK_FALSE(settled(o, 3, 1e6, 0.99e6));
  CHECK(settled(o, 3, 1e6, 0.9999e6));
  CHECK(settled(o, 20, 1e6, 1));
}

TEST_CASE("concept weights: a mean is over the terms that count") {
  const std::vector<std::int64_t> counts = {2, 4, 0};
  const std::vector<std::int32_t> list = {0, -1, 1, -1};
  CHECK(concept_weight(list, counts, ConceptWeight::sum) == 0.75);
  CHECK(concept_weight(list, counts, ConceptWeight::mean) == 0.375);
  CHECK(concept_weight(list, counts, ConceptWeight::max) == 0.5);
  CHECK(concept_weight(std::vector<std::int32_t>{-1, -1}, counts, ConceptWeight::mean) == 0);
}

TEST_CASE("balance: a floor by quantile among cosines below zero leaves out the lowest") {
  const ScratchDirectory dir;
  constexpr int n = 40;
  EmbeddingRows pictures, words;
  for (int i = 0; i < n; ++i) {  // cosines from -0.99 to -0.6 with the one concept
    const double cosine = -0.99 + 0.01 * i;
    pictures.values.push_back(static_cast<float>(cosine));
    pictures.values.push_back(static_cast<float>(std::sqrt(1 - cosine * cosine)));
    pictures.ids.push_back(cat(i)), pictures.records.push_back(i), pictures.sources.push_back(0);
  }
  pictures.write(dir / "pictures", 2, {{"made_from", "a"}, {"sources", "[\"pool\"]"}});
  words.values = {1, 0}, words.ids = {"word"};
  words.write(dir / "words", 2, {{"made_from", "b"}});
  BalanceOptions o;
  o.pictures = {dir / "pictures"}, o.concepts = dir / "words", o.out = dir / "out", o.k = 1, o.n = 5;
  o.floor_quantile = 0.25;
  const Json report = silently([&] { return balance(o); });
  CHECK(report.at("pairs_below_floor").as_int() == n / 4 - 1);
  CHECK(report.at("floor").as_double() == doctest::Approx(-0.90));
}
