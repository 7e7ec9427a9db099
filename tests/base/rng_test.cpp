#include "base/rng.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <set>
#include <vector>

using namespace ov;

namespace {

bool same(const PhiloxBlock& a, const PhiloxBlock& b) { return std::equal(a.word, a.word + 4, b.word); }

template <class F>
bool is_bijection(std::int64_t n, F&& p) {
  std::vector<int> hits(n);
  for (std::int64_t i = 0; i < n; ++i) ++hits.at(p(i));
  return std::all_of(hits.begin(), hits.end(), [](int h) { return h == 1; });
}

// Σ (observed - expected)² / expected. Mean and variance under the hypothesis: k - 1 and 2 (k - 1).
double chi_square(const std::vector<std::int64_t>& observed, double expected) {
  double s = 0;
  for (const std::int64_t o : observed)
    s += (static_cast<double>(o) - expected) * (static_cast<double>(o) - expected) / expected;
  return s;
}

}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of the Random123 distribution") {
  CHECK(same(philox4x32_10({{0, 0, 0, 0}}, 0, 0), {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}));
  const std::uint32_t f = 0xffffffffu;
  CHECK(same(philox4x32_10({{f, f, f, f}}, f, f), {{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}}));
  CHECK(same(philox4x32_10({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0xa4093822u, 0x299f31d0u),
             {{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}}));
  CHECK_FALSE(same(philox4x32_10({{1, 0, 0, 0}}, 0, 0), {{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}}));
}

TEST_CASE("seed, purpose, step and element each change the value, and nothing else does") {
  const auto value = [](std::uint64_t seed, const char* purpose, std::uint64_t step, std::uint64_t i) {
    return Philox(seed, purpose, step).u64(i);
  };
  const std::set<std::uint64_t> all = {
      value(1, "init", 0, 0), value(2, "init", 0, 0), value(1ull << 32, "init", 0, 0), value(1, "dropout", 0, 0),
      value(1, "init", 1, 0), value(1, "init", 0, 1), value(1, "init", 0, 2),          value(1, "init", 0, 1ull << 40)};
  CHECK(all.size() == 8);
  CHECK(value(1, "init", 0, 5) == value(1, "init", 0, 5));
  CHECK_THROWS_WITH_AS(Philox(1, "init", 1ull << 32), "Philox: step is 4294967296, expected below 2^32", Error);
}

TEST_CASE("values are pinned: a model's initial weights never change between versions") {
  const Philox random(42, "init", 7);
  CHECK(random.u32(0) == 0xf573133fu);
  CHECK(random.u32(6) == 0xdddb5e40u);
  CHECK(random.u64(3) == 0x13a9b967dddb5e40u);
  CHECK(random.uniform_f32(6) == static_cast<float>(random.u32(6) >> 8) / 16777216.0f);
  CHECK(std::bit_cast<std::uint32_t>(random.normal(0)) == 0xbe946849u);
  CHECK(std::bit_cast<std::uint32_t>(random.normal(3)) == 0x3fd97e2fu);
  CHECK(random.below(5, 1000) == 320);
  CHECK(Permutation(1000, 42, 3)(17) == 668);
}

TEST_CASE("uniform values lie in [0, 1) and have the moments of the uniform distribution") {
  const Philox random(3, "test");
  const int n = 100000;
  double sum = 0, square = 0, sum64 = 0;
  for (int i = 0; i < n; ++i) {
    const float u = random.uniform_f32(i);
    const double v = random.uniform_f64(i);
    REQUIRE((u >= 0 && u < 1 && v >= 0 && v < 1));
    sum += u, square += u * u, sum64 += v;
  }
  // Five standard deviations of the mean: sqrt(1/12/n) for u, sqrt(4/45/n) for u².
  CHECK(std::fabs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::fabs(sum64 / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::fabs(square / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  CHECK(std::fabs(square / n - 0.5) > 5 * std::sqrt(4.0 / 45 / n));  // the twin: another distribution is told apart
}

TEST_CASE("normal values have the moments of the normal distribution and neighbours are uncorrelated") {
  const Philox random(4, "test");
  const int n = 200000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbour = 0;
  for (int i = 0; i < n; ++i) {
    const double z = random.normal(i);
    REQUIRE(std::fabs(z) < 6.8);
    m1 += z, m2 += z * z, m3 += z * z * z, m4 += z * z * z * z, neighbour += z * random.normal(i ^ 1);
  }
  // Five standard deviations; Var z^k = 1, 2, 15, 96. Pairs are counted twice: Var of the neighbour term is 2.
  const double root_n = std::sqrt(n);
  CHECK(std::fabs(m1 / n) < 5 / root_n);
  CHECK(std::fabs(m2 / n - 1) < 5 * std::sqrt(2) / root_n);
  CHECK(std::fabs(m3 / n) < 5 * std::sqrt(15) / root_n);
  CHECK(std::fabs(m4 / n - 3) < 5 * std::sqrt(96) / root_n);
  CHECK(std::fabs(neighbour / n) < 5 * std::sqrt(2) / root_n);
  CHECK(std::fabs(m4 / n - 1.8) > 5 * std::sqrt(96) / root_n);  // the twin: 1.8 is a uniform's kurtosis
}

TEST_CASE("below(n) is in range, even for n that 2^64 does not divide, and without bias") {
  // The mean of χ² over 20 seeds has mean n - 1 and variance 2 (n - 1) / 20.
  const int seeds = 20, draws = 60000;
  for (const int n : {1, 2, 3, 7, 10}) {
    double mean = 0;
    for (int seed = 0; seed < seeds; ++seed) {
      const Philox random(seed, "test");
      std::vector<std::int64_t> hits(n);
      for (int i = 0; i < draws / seeds; ++i) ++hits.at(random.below(i, n));
      mean += chi_square(hits, static_cast<double>(draws) / seeds / n) / seeds;
    }
    CHECK(mean <= (n - 1) + 5 * std::sqrt(2.0 * (n - 1) / seeds));
  }
  // n = 3·2^62: a plain `% n` would give values below 2^62 half of the time instead of a third; here a quarter of all
  // draws is rejected, so the second half of a block and further blocks are used too.
  const Philox random(5, "test");
  const std::uint64_t n = 3ull << 62;
  std::vector<std::int64_t> thirds(3), modulo(3);
  for (int i = 0; i < draws; ++i) {
    const std::uint64_t v = random.below(i, n);
    REQUIRE(v < n);
    ++thirds[v >> 62];
    ++modulo[(random.u64(i) % n) >> 62];
  }
  CHECK(chi_square(thirds, draws / 3.0) < 2 + 5 * 2.0);
  CHECK(chi_square(modulo, draws / 3.0) > 2 + 5 * 2.0);  // the twin
  CHECK_THROWS_WITH_AS(random.below(0, 0), "Philox::below: n is 0, expected at least 1", Error);
}

TEST_CASE("a permutation reaches every record exactly once per epoch, whatever their number") {
  for (const std::int64_t n : {1, 2, 3, 7, 10, 64, 1000, 4097})
    for (const std::uint64_t epoch : {0, 1, 2}) CHECK(is_bijection(n, Permutation(n, 99, epoch)));
  CHECK_FALSE(is_bijection(10, [](std::int64_t i) { return i * i % 10; }));  // the twin
}

TEST_CASE("epochs and seeds give different orders, and a record lands everywhere equally often") {
  const std::int64_t n = 1000;
  const auto fixed = [&](const Permutation& a, const Permutation& b) {
    int equal = 0;
    for (std::int64_t i = 0; i < n; ++i) equal += a(i) == b(i);
    return equal;
  };
  // Two random orders agree in one place on average (Poisson).
  CHECK(fixed(Permutation(n, 1, 0), Permutation(n, 1, 1)) < 10);
  CHECK(fixed(Permutation(n, 1, 0), Permutation(n, 2, 0)) < 10);
  CHECK(fixed(Permutation(n, 1, 0), Permutation(n, 1, 0)) == n);

  const int epochs = 20000;
  for (const std::int64_t size : {3, 10, 17}) {
    std::vector<std::int64_t> first(size), last(size);
    for (int e = 0; e < epochs; ++e) {
      const Permutation p(size, 7, e);
      ++first.at(p(0));
      ++last.at(p(size - 1));
    }
    const double k = static_cast<double>(size - 1), limit = k + 5 * std::sqrt(2 * k);
    CHECK(chi_square(first, static_cast<double>(epochs) / static_cast<double>(size)) < limit);
    CHECK(chi_square(last, static_cast<double>(epochs) / static_cast<double>(size)) < limit);
  }
}

TEST_CASE("a permutation handles large sets and refuses what it cannot order") {
  const std::int64_t n = (std::int64_t{1} << 62) - 3;
  const Permutation p(n, 1, 1);
  CHECK(p.size() == n);
  CHECK(p(0) != p(1));
  CHECK(p(n - 1) < n);
  CHECK_THROWS_WITH_AS(Permutation(0, 1, 1), "Permutation: n is 0, expected at least 1", Error);
  CHECK_THROWS_AS(Permutation((std::int64_t{1} << 62) + 1, 1, 1), Error);
  CHECK_THROWS_WITH_AS(Permutation(5, 1, 1)(5), "Permutation: position 5, expected 0 to 4", Error);
  CHECK_THROWS_AS(Permutation(5, 1, 1)(-1), Error);
}

TEST_CASE("hashes give the published values") {
  // The first outputs of splitmix64 seeded with 0 and 1234567.
  CHECK(mix64(0x9e3779b97f4a7c15u) == 0xe220a8397b1dcdafu);
  CHECK(mix64(1234567u + 0x9e3779b97f4a7c15u) == 6457827717110365317u);
  CHECK(fnv1a("") == 0xcbf29ce484222325u);
  CHECK(fnv1a("a") == 0xaf63dc4c8601ec8cu);
  CHECK(fnv1a("foobar") == 0x85944171f73967e8u);
  CHECK(fnv1a("bar", fnv1a("foo")) == fnv1a("foobar"));
}

TEST_CASE("checksums of shards add up to the checksum of the whole, and see every bit and place") {
  std::vector<float> x(1000);
  for (int i = 0; i < 1000; ++i) x[i] = Philox(1, "test").normal(i);
  const std::uint64_t whole = checksum(x.data(), 1000);
  CHECK(checksum(x.data() + 300, 700, 300) + checksum(x.data(), 300) == whole);
  CHECK(checksum(x.data() + 300, 700, 299) + checksum(x.data(), 300) != whole);
  std::swap(x[5], x[6]);
  CHECK(checksum(x.data(), 1000) != whole);
  std::swap(x[5], x[6]);
  CHECK(checksum(x.data(), 1000) == whole);
  x[999] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x[999]) ^ 1u);
  CHECK(checksum(x.data(), 1000) != whole);
  const float zero[2] = {};
  CHECK(checksum(zero, 1) != 0);
  CHECK(checksum(zero, 1) != checksum(zero, 2));
}
