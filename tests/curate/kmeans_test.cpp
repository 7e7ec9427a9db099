// rice_pretraining.md 9.3, test 8: k-means against itself in f64, by brute force, and against scikit-learn's objective.
#include "curate/kmeans.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "store/safetensors.h"
#include "tests/check.h"

using namespace ov;
using test::contains, test::thrown;

namespace {

// Rows around `centres` means on the unit sphere.
Tensor clouds(std::int64_t N, std::int64_t C, std::int64_t centres, double spread, std::uint64_t seed = 3) {
  const Philox random(seed, "clouds"), around(seed, "around");
  const Tensor rows({N, C}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t i = 0; i < N; ++i) {
    const auto cloud = random.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(centres));
    double length = 0;
    for (std::int64_t c = 0; c < C; ++c) {
      const auto at = static_cast<std::uint64_t>(i * C + c);
      const double middle = Philox(seed, "middle", cloud).normal(static_cast<std::uint64_t>(c));
      rows.row<float>(i)[c] = static_cast<float>(middle + spread * around.normal(at));
      length += double(rows.row<float>(i)[c]) * double(rows.row<float>(i)[c]);
    }
    for (std::int64_t c = 0; c < C; ++c) rows.row<float>(i)[c] /= static_cast<float>(std::sqrt(length));
  }
  return rows;
}

double distance(const Tensor& a, std::int64_t i, const Tensor& b, std::int64_t j) {
  double sum = 0;
  for (std::int64_t c = 0; c < a.dim(1); ++c) {
    const double d = double(a.row<float>(i)[c]) - double(b.row<float>(j)[c]);
    sum += d * d;
  }
  return sum;
}

Clusters all_of(const Tensor& rows, const Assignment& a, std::int64_t K) {
  Clusters out(K, rows.dim(1));
  out.add(sums_of(rows, a, 0));
  return out;
}

double objective(const Tensor& rows, const Tensor& centres) {
  const Assignment a = assign(rows, centres);
  return std::accumulate(a.distance.begin(), a.distance.end(), 0.0);
}

}  // namespace

TEST_CASE(
    "k-means: every row gets the nearest of all centres, as brute force in f64 finds it, the lower of equal ones") {
  for (const std::int64_t K : {1, 2, 37, 200}) {
    const Tensor rows = clouds(1000, 19, 20, 0.4), centres = clouds(K, 19, 20, 0.4, 4);
    if (K > 2) std::copy_n(centres.row<float>(0), 19, centres.row<float>(K - 1));  // twice the same
    // Means are not directions: the length counts.
    for (std::int64_t c = 0; c < 19; ++c) centres.row<float>(K / 2)[c] *= 0.5f;
    const Assignment a = assign(rows, centres);
    std::int64_t wrong = 0, by_cosine = 0;
    for (std::int64_t i = 0; i < 1000; ++i) {
      std::int64_t best = 0;
      for (std::int64_t k = 1; k < K; ++k)
        if (distance(rows, i, centres, k) < distance(rows, i, centres, best)) best = k;
      wrong += a.cluster[static_cast<std::size_t>(i)] != best;
      wrong += std::abs(a.distance[static_cast<std::size_t>(i)] - distance(rows, i, centres, best)) > 1e-13;
      by_cosine += a.cluster[static_cast<std::size_t>(i)] == K / 2;
    }
    CHECK(wrong == 0);
    CHECK(by_cosine < 1000 * (K == 1 ? 2 : 1));
  }
}

TEST_CASE("k-means: an iteration is Lloyd's in f64, whatever the threads and the parts; the objective never rises") {
  const std::int64_t N = 4000, C = 24, K = 30;
  const Tensor rows = clouds(N, C, 40, 0.5);
  Tensor centres = first_centres(rows, K, 1, 0);
  std::vector<double> reference(static_cast<std::size_t>(K * C));  // the same centres, never rounded to f32
  for (std::int64_t i = 0; i < K * C; ++i) reference[static_cast<std::size_t>(i)] = double(centres.data<float>()[i]);
  double before = std::numeric_limits<double>::infinity();
  for (int iteration = 0; iteration < 12; ++iteration) {
    const Assignment a = assign(rows, centres);
    const Clusters one = all_of(rows, a, K);
    CHECK(one.objective() <= before * (1 + 1e-12));
    before = one.objective();
    Clusters parts(K, C);
    for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, 1500}, {1500, N}}) {
      set_threads(begin ? 1 : 3);
      const Tensor some = rows.slice(0, begin, end);
      parts.add(sums_of(some, assign(some, centres), begin));
    }
    set_threads(2);
    CHECK(parts.counts() == one.counts());
    std::vector<double> sums(static_cast<std::size_t>(K * C));
    std::vector<std::int64_t> counts(static_cast<std::size_t>(K));
    for (std::int64_t i = 0; i < N; ++i) {
      std::int64_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      for (std::int64_t k = 0; k < K; ++k) {
        double d = 0;
        for (std::int64_t c = 0; c < C; ++c)
          d += std::pow(double(rows.row<float>(i)[c]) - reference[static_cast<std::size_t>(k * C + c)], 2);
        if (d < least) least = d, best = k;
      }
      ++counts[static_cast<std::size_t>(best)];
      for (std::int64_t c = 0; c < C; ++c)
        sums[static_cast<std::size_t>(best * C + c)] += double(rows.row<float>(i)[c]);
    }
    REQUIRE(counts == one.counts());
    const Tensor next = one.means(centres);
    const Tensor again = parts.means(centres);
    double worst = 0, apart = 0;
    for (std::int64_t k = 0; k < K; ++k)
      for (std::int64_t c = 0; c < C && counts[static_cast<std::size_t>(k)]; ++c) {
        const auto i = static_cast<std::size_t>(k * C + c);
        reference[i] = sums[i] / static_cast<double>(counts[static_cast<std::size_t>(k)]);
        worst = std::max(worst, std::abs(double(next.row<float>(k)[c]) - reference[i]));
        apart = std::max(apart, std::abs(double(next.row<float>(k)[c]) - double(again.row<float>(k)[c])));
      }
    CHECK(worst <= 0x1p-24);  // half an f32 step below 1
    CHECK(apart <= 0x1p-24);
    centres = next;
  }
  CHECK(before < 0.9 * objective(rows, first_centres(rows, K, 1, 0)));
}

TEST_CASE("k-means: parts that are the same give the same bits for any number of threads") {
  const Tensor rows = clouds(40000, 16, 50, 0.5);
  std::vector<std::vector<float>> made;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    made.push_back(kmeans(rows, {.K = 40, .iterations = 5}).to_vector<float>());
  }
  set_threads(2);
  CHECK(made[0] == made[1]);
  CHECK(made[0] == made[2]);
  CHECK(made[0] != kmeans(rows, {.K = 40, .iterations = 5, .seed = 2}).to_vector<float>());
}

TEST_CASE("k-means: no cluster is empty at the end, though centres begin on one point; fewer different rows, fewer") {
  const std::int64_t K = 25;
  const Tensor rows = clouds(600, 8, 5, 0.02);
  Tensor centres({K, 8}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t k = 0; k < K; ++k) std::copy_n(rows.row<float>(0), 8, centres.row<float>(k));
  std::int64_t rounds = 0;
  double before = std::numeric_limits<double>::infinity();
  for (;; ++rounds) {
    const Clusters c = all_of(rows, assign(rows, centres), K);
    CHECK(c.objective() < before);
    before = c.objective();
    if (c.empty() == 0) break;
    CHECK(c.fill_empty(centres, [&](std::int64_t i) { return rows.slice(0, i, i + 1); }) >= 1);
    REQUIRE(rounds < K);
  }
  CHECK(rounds >= 4);  // 1, 2, 4, 8, 16, 25 clusters
  // Seven different rows, many times each.
  Tensor few({700, 8}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t i = 0; i < 700; ++i) std::copy_n(rows.row<float>(i % 7), 8, few.row<float>(i));
  CHECK(kmeans(few, {.K = 7}).dim(0) == 7);
  CHECK(kmeans(few, {.K = 20}).dim(0) == 7);
  CHECK(objective(few, kmeans(few, {.K = 20})) == 0);
  CHECK(kmeans(rows, {.K = 600}).dim(0) == 600);
  CHECK(contains(thrown([&] { kmeans(rows, {.K = 601}); }), "601 clusters of 600 rows"));
}

TEST_CASE("k-means++: a row is chosen in proportion to its squared distance") {
  // Of 0, 1 and 3 on a line, once 0 is there: 1 with a chance of 1/10, 3 with 9/10.
  const Tensor rows = Tensor::of(std::vector<float>{0, 1, 3}, {3, 1});
  double first[3] = {}, far = 0, from_zero = 0;
  for (std::uint64_t seed = 0; seed < 6000; ++seed) {
    const auto c = first_centres(rows, 2, seed, 0).to_vector<float>();
    ++first[c[0] == 0 ? 0 : c[0] == 1 ? 1 : 2];
    if (c[0] == 0) ++from_zero, far += c[1] == 3;
  }
  for (const double n : first) CHECK(std::abs(n - 2000) < 4 * std::sqrt(6000 * (1 / 3.0) * (2 / 3.0)));
  CHECK(std::abs(far / from_zero - 0.9) < 4 * std::sqrt(0.09 / from_zero));
  const auto all = first_centres(rows, 3, 1, 0).to_vector<float>();
  CHECK(std::set<float>(all.begin(), all.end()).size() == 3);
}

TEST_CASE("k-means: shares of K add up, in proportion, and no group gets more than it has") {
  CHECK(shares_of(10, {100, 100, 300}) == std::vector<std::int64_t>{3, 2, 5});  // 1 + 1.4, 1 + 1.4, 1 + 4.2
  CHECK(shares_of(3, {1, 1, 500}) == std::vector<std::int64_t>{1, 1, 1});
  CHECK(shares_of(9, {2, 2, 5}) == std::vector<std::int64_t>{2, 2, 5});
  CHECK(shares_of(8, {1, 1, 500}) == std::vector<std::int64_t>{1, 1, 6});
  CHECK(contains(thrown([] { shares_of(10, {2, 2, 5}); }), "10 centres for 9 rows"));
}

TEST_CASE("k-means: purity and mutual information, by hand and of a partition with itself") {
  const Agreement same = agreement({0, 0, 1, 2}, {5, 5, 3, 9}), one = agreement({0, 0, 0, 0}, {1, 1, 1, 2});
  CHECK(same.purity == 1);
  CHECK(same.nmi == doctest::Approx(1));
  CHECK(one.purity == doctest::Approx(0.75));
  CHECK(one.nmi == doctest::Approx(0));
  const Agreement half = agreement({0, 0, 1, 1}, {0, 0, 0, 1});  // H = ln 2 and 0.5623, I = 0.2158
  CHECK(half.purity == doctest::Approx(0.75));
  CHECK(half.nmi == doctest::Approx(2 * 0.215762 / (0.693147 + 0.562335)).epsilon(1e-5));
}

TEST_CASE("golden k-means: from the same first centres scikit-learn ends with the same objective and clusters") {
  const Safetensors golden = Safetensors::open("tests/golden/kmeans/kmeans.safetensors");
  std::int64_t cases = 0;
  for (const SafetensorsEntry& e : golden.entries()) {
    if (!e.name.ends_with(".rows")) continue;
    const std::string name = e.name.substr(0, e.name.size() - 5);
    CAPTURE(name);
    const auto of = [&](const char* what) { return golden.tensor(cat(name, ".", what)); };
    const Tensor rows = of("rows");
    Tensor centres = of("first");
    const std::int64_t K = centres.dim(0);
    const auto objectives = of("objectives").to_vector<double>();  // after 1, 2, ... iterations
    for (const double expected : objectives) {
      centres = all_of(rows, assign(rows, centres), K).means(centres);
      // Rounding moves a centre by δ <= 2^-25 |c|, and J = Σ |x - c|² by at most 2 Σ |x - c| δ <= 2 δ √(N J).
      double longest = 0;
      for (std::int64_t k = 0; k < K; ++k)
        longest =
            std::max(longest, std::sqrt(distance(centres, k, Tensor::zeros({1, rows.dim(1)}, Dtype::f32, cpu()), 0)));
      const double bound = 2 * 0x1p-25 * longest * std::sqrt(static_cast<double>(rows.dim(0)) * expected);
      CHECK(std::abs(objective(rows, centres) - expected) <= bound);
    }
    CHECK(assign(rows, centres).cluster == of("labels").to_vector<std::int32_t>());
    // From own first centres: the best of ten runs is where ten runs of scikit-learn are, whose k-means++ tries several
    // rows for each centre.
    const auto runs = of("runs").to_vector<double>();
    double own = std::numeric_limits<double>::infinity();
    for (std::uint64_t seed = 0; seed < 10; ++seed)
      own = std::min(own, objective(rows, kmeans(rows, {.K = K, .iterations = 100, .tolerance = 0, .seed = seed})));
    CHECK(own <= *std::max_element(runs.begin(), runs.end()));
    ++cases;
  }
  CHECK(cases >= 3);
}
