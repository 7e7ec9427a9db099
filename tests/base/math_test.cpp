#include <doctest/doctest.h>

#include <limits>

#include "tests/tools/math_check.h"

using namespace ov;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
const float nan_f32 = std::numeric_limits<float>::quiet_NaN();

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

// Every 997th bit pattern of the input and its negative; `make test-math` takes all of them.
math_check::Result sample(const math_check::Function& f) { return math_check::check(f, 997, 2); }

float exp_one_ulp_high(float x) { return std::bit_cast<float>(bits(math::exp(x)) + 1); }

// Wrong at a single one of the sampled inputs, and there by 2 ulps.
float log_wrong_once(float x) {
  const float y = math::log(x);
  return bits(x) == 997u * 1100000u ? std::bit_cast<float>(bits(y) + 2) : y;
}

float sin_without_zero_sign(float x) { return math::sin(x) + 0.0f; }

float erf_loses_nan(float x) { return std::isnan(x) ? 1.0f : math::erf(x); }

float tanh_flushes_subnormals(float x) { return std::fabs(x) < 0x1p-126f ? 0.0f * x : math::tanh(x); }

// A reduction that multiplies by 1/(π/2) and keeps the fraction in f64: fine for small x, nonsense for large x.
float cos_naive_reduction(float x) {
  const double turns = static_cast<double>(x) * 0.63661977236758134308;
  return static_cast<float>(std::cos((turns - 4 * std::floor(turns / 4)) * 1.57079632679489661923));
}

}  // namespace

TEST_CASE("f32 functions stay within their bound against fp64 over the whole range of inputs (M-23)") {
  for (const math_check::Function& f : math_check::functions) {
    const math_check::Result r = sample(f);
    INFO(f.name << " at " << r.worst_at);
    CHECK(r.inputs == 4307892);
    CHECK(r.worst <= f.bound);
    CHECK(r.worst >= 0.49);  // half an ulp of rounding is unavoidable: less means that nothing was compared
  }
}

TEST_CASE("the checker catches functions that are slightly wrong") {
  using math_check::map;
  using math_check::Parity;
  const math_check::Function wrong[] = {
      {"exp", map<exp_one_ulp_high>, std::exp, Parity::none, 1},
      {"log", map<log_wrong_once>, std::log, Parity::none, 1},
      {"sin", map<sin_without_zero_sign>, std::sin, Parity::odd, 1},
      {"erf", map<erf_loses_nan>, std::erf, Parity::odd, 1},
      {"tanh", map<tanh_flushes_subnormals>, std::tanh, Parity::odd, 1},
      {"cos", map<cos_naive_reduction>, std::cos, Parity::even, 1},
  };
  for (std::size_t i = 0; i < std::size(wrong); ++i) {
    const math_check::Result r = sample(wrong[i]);
    INFO(wrong[i].name);
    CHECK(r.worst > wrong[i].bound);
    CHECK(r.checksum != sample(math_check::functions[i]).checksum);
  }
}

TEST_CASE("the error measure knows infinities, signed zeros, subnormals and NaN") {
  CHECK(math_check::ulp_error(1.0, 1.0f) == 0);
  CHECK(math_check::ulp_error(1.0, 1.0f + 0x1p-23f) == 1);
  CHECK(math_check::ulp_error(1.0 + 0x1p-24, 1.0f) == 0.5);
  CHECK(math_check::ulp_error(0x1p-149 * 0.25, 0.0f) == 0.25);
  CHECK(math_check::ulp_error(0x1p-149, 0.0f) == 1);
  CHECK(math_check::ulp_error(-0.0, 0.0f) == inf);
  CHECK(math_check::ulp_error(0x1p200, inf) == 0);
  CHECK(math_check::ulp_error(0x1p200, -inf) > 0x1p90);
  CHECK(math_check::ulp_error(static_cast<double>(std::numeric_limits<float>::max()), inf) == 1);
  CHECK(math_check::ulp_error(1.0, nan_f32) == inf);
  CHECK(math_check::ulp_error(std::nan(""), 1.0f) == inf);
  CHECK(math_check::ulp_error(std::nan(""), nan_f32) == 0);
}

TEST_CASE("special values of exp and log") {
  CHECK(math::exp(0.0f) == 1.0f);
  CHECK(math::exp(-0.0f) == 1.0f);
  CHECK(math::exp(inf) == inf);
  CHECK(bits(math::exp(-inf)) == 0u);
  CHECK(std::isnan(math::exp(nan_f32)));
  CHECK(math::exp(0x1.62e42ep+6f) < inf);                             // the last argument below 128 ln 2
  CHECK(math::exp(0x1.62e430p+6f) == inf);                            // the first above
  CHECK(bits(math::exp(-0x1.9fe368p+6f)) == 1u);                      // the last whose result is not zero (-103.97208)
  CHECK(bits(math::exp(-0x1.9fe36ap+6f)) == 0u);                      // the first that is
  CHECK(math::exp(-100.0f) == static_cast<float>(std::exp(-100.0)));  // a subnormal result

  CHECK(bits(math::log(1.0f)) == 0u);
  CHECK(math::log(0.0f) == -inf);
  CHECK(math::log(-0.0f) == -inf);
  CHECK(math::log(inf) == inf);
  CHECK(std::isnan(math::log(-1.0f)));
  CHECK(std::isnan(math::log(-inf)));
  CHECK(std::isnan(math::log(nan_f32)));
  CHECK(math::log(0x1p-149f) == static_cast<float>(std::log(0x1p-149)));
}

TEST_CASE("special values of erf and tanh") {
  for (float (*f)(float) : {+[](float x) { return math::erf(x); }, +[](float x) { return math::tanh(x); }}) {
    CHECK(bits(f(0.0f)) == 0u);
    CHECK(bits(f(-0.0f)) == 0x80000000u);
    CHECK(f(inf) == 1.0f);
    CHECK(f(-inf) == -1.0f);
    CHECK(f(12.0f) == 1.0f);
    CHECK(f(-12.0f) == -1.0f);
    CHECK(std::isnan(f(nan_f32)));
    CHECK(f(0x1p-140f) > 0.0f);
    for (float x = -4; x < 4; x += 0.01f) CHECK(f(-x) == -f(x));
  }
}

TEST_CASE("special values of sin and cos (M-23)") {
  CHECK(bits(math::sin(0.0f)) == 0u);
  CHECK(bits(math::sin(-0.0f)) == 0x80000000u);
  CHECK(math::cos(0.0f) == 1.0f);
  CHECK(math::sin(0x1p-149f) == 0x1p-149f);
  for (const float x : {inf, -inf, nan_f32}) {
    CHECK(std::isnan(math::sin(x)));
    CHECK(std::isnan(math::cos(x)));
  }
  // Both sides of the border between the two reductions, the f32 nearest to a multiple of π/2, and the largest number.
  for (const float x : {0x1.fffffep27f, 0x1p28f, 0x1.000002p28f, 16367173.0f * 0x1p72f, 0x1.fffffep127f}) {
    CHECK(math::sin(x) == static_cast<float>(std::sin(static_cast<double>(x))));
    CHECK(math::cos(x) == static_cast<float>(std::cos(static_cast<double>(x))));
    CHECK(math::sin(-x) == -math::sin(x));
    CHECK(math::cos(-x) == math::cos(x));
  }
}

TEST_CASE("activations follow their formulas, and their derivatives are derivatives") {
  const double h = 1e-5;
  for (double x = -8; x <= 8; x += 0.25) {
    INFO("x = " << x);
    const double normal_cdf = 0.5 * std::erfc(-x / std::sqrt(2.0)), logistic = 1 / (1 + std::exp(-x));
    CHECK(math::gelu(x) == doctest::Approx(x * normal_cdf).epsilon(1e-9).scale(1));
    CHECK(math::sigmoid(x) == doctest::Approx(logistic).epsilon(1e-14));
    CHECK(math::silu(x) == doctest::Approx(x * logistic).epsilon(1e-14));
    // Central difference: h²/6 f''' + rounding, f''' below 2.
    CHECK(std::fabs(math::gelu_derivative(x) - (math::gelu(x + h) - math::gelu(x - h)) / (2 * h)) < 3e-10);
    CHECK(std::fabs(math::silu_derivative(x) - (math::silu(x + h) - math::silu(x - h)) / (2 * h)) < 3e-10);
    // f32 against f64: a few roundings of terms no larger than 1 + |x|.
    const float y = static_cast<float>(x);
    const double few = 4 * 0x1p-24 * (1 + std::fabs(x));
    CHECK(std::fabs(math::gelu(y) - math::gelu(x)) < few);
    CHECK(std::fabs(math::gelu_derivative(y) - math::gelu_derivative(x)) < few);
    CHECK(std::fabs(math::silu(y) - math::silu(x)) < few);
    CHECK(std::fabs(math::silu_derivative(y) - math::silu_derivative(x)) < few);
  }
  CHECK(math::gelu_derivative(1.0) != doctest::Approx(math::silu_derivative(1.0)).epsilon(1e-3));
  CHECK(math::rsqrt(4.0f) == 0.5f);
  CHECK(math::rsqrt(0.25) == 2.0);
  CHECK(math::silu(-200.0f) == 0.0f);
  CHECK(math::sigmoid(-200.0f) == 0.0f);
  CHECK(math::sigmoid(200.0f) == 1.0f);
}
