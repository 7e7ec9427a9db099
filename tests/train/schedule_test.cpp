// The original's learning rate, with numbers worked out by hand.
#include "train/schedule.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace ov;

namespace {

// 1000 steps, of which 100 warm up: W = 100, D = 1000.
Schedule thousand(std::int64_t first_step = 0) {
  return {.peak = 1e-3, .min = 1e-4, .warmup = 0.1, .decay = "cosine", .steps = 1000, .first_step = first_step};
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-12 * std::abs(b); }

}  // namespace

TEST_CASE("the first step has rate 0, warm-up is a line, the peak is reached at its end") {
  const Schedule s = thousand();
  CHECK(s.rate(0) == 0);
  CHECK(near(s.rate(1), 1e-5));
  CHECK(near(s.rate(50), 5e-4));
  CHECK(near(s.rate(100), 1e-3));
  CHECK(s.rate(101) < 1e-3);
}

TEST_CASE("after warm-up half a cosine: its middle, its thirds, and a last step that is a little above the minimum") {
  const Schedule s = thousand();
  CHECK(near(s.rate(100 + 450), 1e-4 + 0.5 * 9e-4));                           // cos(π/2) = 0
  CHECK(near(s.rate(100 + 300), 1e-4 + 0.75 * 9e-4));                          // cos(π/3) = 1/2
  CHECK(near(s.rate(100 + 600), 1e-4 + 0.25 * 9e-4));                          // cos(2π/3) = -1/2
  CHECK(near(s.rate(100 + 225), 1e-4 + 9e-4 * (0.5 + 0.25 * std::sqrt(2.))));  // cos(π/4) = √2/2
  CHECK(s.rate(999) > 1e-4);
  CHECK(s.rate(999) < 1e-4 + 1e-8);
  CHECK(near(s.rate(1000), 1e-4));  // n = D
  CHECK(s.rate(1001) == 1e-4);
  CHECK(s.rate(50000) == 1e-4);
  for (std::int64_t n = 100; n < 1000; ++n) CHECK(s.rate(n + 1) < s.rate(n));
}

TEST_CASE("counting steps is counting samples: the original's numbers for 112 packs a step") {
  // n = 112 step, W = 0.002 · 70000 · 112 = 15680, D = 7840000
  const Schedule s{.peak = 1e-5, .min = 1e-6, .warmup = 0.002, .decay = "cosine", .steps = 70000, .first_step = 0};
  for (const std::int64_t step : {0, 1, 139, 140, 141, 20000, 35070, 69999}) {
    const double n = 112. * static_cast<double>(step), W = 15680, D = 7840000;
    const double expected = n <= W ? 1e-5 * n / W : 1e-6 + 0.5 * 9e-6 * (1 + std::cos(M_PI * (n - W) / (D - W)));
    CAPTURE(step);
    CHECK(std::abs(s.rate(step) - expected) <= 1e-12 * 1e-5);
  }
  CHECK(near(s.rate(140), 1e-5));      // the warm-up ends
  CHECK(near(s.rate(35070), 5.5e-6));  // half way from W to D
}

TEST_CASE("first_step 1 counts from one: no step of rate 0, and the last one has the minimum") {
  const Schedule zero = thousand(), one = thousand(1);
  CHECK(near(one.rate(0), 1e-5));
  CHECK(near(one.rate(99), 1e-3));
  CHECK(near(one.rate(999), 1e-4));
  for (std::int64_t n = 0; n < 1000; ++n) CHECK(one.rate(n) == zero.rate(n + 1));
}

TEST_CASE("no warm-up starts at the peak; constant stays there; a run that is all warm-up ends at the peak") {
  Schedule s = thousand();
  s.warmup = 0;
  CHECK(near(s.rate(0), 1e-3));
  s = thousand();
  s.decay = "constant";
  CHECK(s.rate(0) == 0);
  for (const std::int64_t n : {100, 101, 999, 2000}) CHECK(near(s.rate(n), 1e-3));
  s = thousand();
  s.warmup = 1;
  CHECK(near(s.rate(500), 5e-4));
  CHECK(near(s.rate(1000), 1e-3));
  CHECK(s.rate(1001) == 1e-4);
}
