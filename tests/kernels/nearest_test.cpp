// data_curation.md 9, acceptance 5: the top-k is that of brute force in f64.
#include "kernels/nearest.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/sum.h"
#include "kernels/sim/device.h"
#include "kernels/sim/scheduler.h"
#include "tests/devices/sim_device.h"

using namespace ov;

namespace {

Tensor random_rows(std::int64_t n, std::int64_t c, std::string_view stream, std::int64_t distinct = 0) {
  const Philox random(7, stream);
  std::vector<float> v(static_cast<std::size_t>(n * c));
  for (std::int64_t i = 0; i < n * c; ++i) {
    const std::int64_t row = distinct ? i / c % distinct : i / c;
    v[static_cast<std::size_t>(i)] = random.normal(static_cast<std::uint64_t>(row * c + i % c));
  }
  return Tensor::of(v, {n, c});
}

struct Lists {
  std::vector<std::int32_t> ids;
  std::vector<float> scores;
  bool operator==(const Lists&) const = default;
};

Lists searched(const Tensor& a, const Tensor& b, std::int64_t k) {
  const Tensor ids({a.dim(0), k}, Dtype::i32, cpu()), scores({a.dim(0), k}, Dtype::f32, cpu());
  kernels::nearest({.ids = ids, .scores = scores, .a = a, .b = b});
  return {ids.to_vector<std::int32_t>(), scores.to_vector<float>()};
}

// The same on a simulated GPU.
Lists searched_on(Device& device, const Tensor& a, const Tensor& b, std::int64_t k) {
  const Tensor ids({a.dim(0), k}, Dtype::i32, device), scores({a.dim(0), k}, Dtype::f32, device);
  kernels::nearest({.ids = ids, .scores = scores, .a = a.to(device), .b = b.to(device)});
  return {ids.to_vector<std::int32_t>(), scores.to_vector<float>()};
}

Lists brute_force(const Tensor& a, const Tensor& b, std::int64_t k) {
  Lists all;
  const std::vector<float> x = a.to_vector<float>(), y = b.to_vector<float>();
  const std::int64_t C = a.dim(1), M = b.dim(0);
  for (std::int64_t n = 0; n < a.dim(0); ++n) {
    std::vector<double> s(static_cast<std::size_t>(M));
    for (std::int64_t m = 0; m < M; ++m) s[static_cast<std::size_t>(m)] = dot<double>(C, &x[n * C], &y[m * C]);
    std::vector<std::int32_t> order(s.size());
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](auto i, auto j) {
      const double a = s[static_cast<std::size_t>(i)], b = s[static_cast<std::size_t>(j)];
      return a > b || (a == b && i < j);
    });
    for (std::int64_t j = 0; j < k; ++j) {
      all.ids.push_back(order[static_cast<std::size_t>(j)]);
      all.scores.push_back(static_cast<float>(s[static_cast<std::size_t>(order[static_cast<std::size_t>(j)])]));
    }
  }
  return all;
}

}  // namespace

TEST_CASE("acceptance 5: nearest rows are those of f64 brute force, 1 K x 5 K") {
  const Tensor a = random_rows(1000, 96, "a"), b = random_rows(5000, 96, "b");
  const Lists expected = brute_force(a, b, 10);
  CHECK(searched(a, b, 10) == expected);
  for (const int n : {1, 3}) {
    const int before = threads();
    set_threads(n);
    CHECK(searched(a, b, 10) == expected);
    set_threads(before);
  }
  for (const std::int64_t begin : {0, 1, 255, 999})  // a row by itself, or with others
    CHECK(searched(a.slice(0, begin, begin + 1), b, 10).ids ==
          std::vector(expected.ids.begin() + 10 * begin, expected.ids.begin() + 10 * (begin + 1)));
}

TEST_CASE("acceptance 5: of equal rows the lower index, at every size and in every order") {
  for (const std::int64_t M : {1, 2, 17, 18, 19, 1023, 1024, 1025, 2500})
    for (const std::int64_t C : {1, 7, 16, 385})
      for (const std::int64_t k : {std::int64_t{1}, std::int64_t{10}, M}) {
        if (k > M || (k == M && M > 19)) continue;
        const Tensor a = random_rows(5, C, "a");
        for (const std::int64_t distinct : {std::int64_t{0}, (M + 3) / 4}) {  // rows that stand four times
          const Tensor b = random_rows(M, C, "b", distinct);
          CHECK_MESSAGE(searched(a, b, k) == brute_force(a, b, k), "M ", M, ", C ", C, ", k ", k);
        }
      }
  // What differs by less than f32 sees, rising: the last rows are the best, and f32 takes them for equal.
  std::vector<float> rising(4000 * 4, 1.0f);
  for (std::size_t m = 0; m < 4000; ++m) rising[4 * m] = 1e-9f * static_cast<float>(m);
  const Tensor one = Tensor::of(std::vector<float>{1, 1, 1, 1}, {1, 4}), b = Tensor::of(rising, {4000, 4});
  CHECK(searched(one, b, 3).ids == std::vector<std::int32_t>{3999, 3998, 3997});
}

TEST_CASE("nearest: what it cannot answer is refused") {
  const Tensor a = random_rows(2, 4, "a"), b = random_rows(3, 4, "b");
  CHECK_THROWS_WITH_AS(searched(a, b, 4), doctest::Contains("4 of 3 rows"), Error);
  CHECK_THROWS_WITH_AS(searched(a, random_rows(3, 5, "b"), 2), doctest::Contains("nearest"), Error);
}

TEST_CASE(
    "nearest: the CUDA twin gives the CPU's ids and scores, of equal rows the lower index, in every thread order") {
  for (const std::int64_t M : {1, 2, 17, 63, 64, 65, 200})
    for (const std::int64_t C : {1, 31, 33, 96})
      for (const std::int64_t k : {std::int64_t{1}, std::int64_t{10}, M}) {
        if (k > M || (C == 96 && k == M)) continue;
        const Tensor a = random_rows(18, C, "a");
        for (const std::int64_t distinct : {std::int64_t{0}, (M + 3) / 4}) {
          const Tensor b = random_rows(M, C, "b", distinct);
          CHECK_MESSAGE(searched_on(sim_device(), a, b, k) == searched(a, b, k), "M ", M, ", C ", C, ", k ", k);
        }
      }
  // f32 takes them for equal, so that the proposal does not decide.
  std::vector<float> rising(400 * 4, 1.0f);
  for (std::size_t m = 0; m < 400; ++m) rising[4 * m] = 1e-9f * static_cast<float>(m);
  const Tensor one = Tensor::of(std::vector<float>{1, 1, 1, 1}, {1, 4}), near = Tensor::of(rising, {400, 4});
  CHECK(searched_on(sim_device(), one, near, 3).ids == std::vector<std::int32_t>{399, 398, 397});

  const Tensor a = random_rows(33, 40, "a"), b = random_rows(150, 40, "b", 70);
  const Lists expected = searched(a, b, 10);
  for (const sim::Schedule s : {sim::Schedule{sim::Order::reverse, 0}, {sim::Order::random, 1}}) {
    const sim::ScheduleScope scope(s);
    CHECK(searched_on(sim_device(), a, b, 10) == expected);
  }
  for (const auto policy : {test::SimDevice::Policy::lazy, test::SimDevice::Policy::random}) {
    test::SimDevice device(policy, 1);
    CHECK(searched_on(device, a, b, 10) == expected);
  }
  CHECK_THROWS_WITH_AS(searched_on(sim_device(), a, random_rows(1100, 40, "b"), 1020),
                       doctest::Contains("at most 1016"), Error);
}
