#include "kernels/rope.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "base/json.h"

using namespace ov;

TEST_CASE("inverse frequencies are torch's to one ulp, and all but one entry of a table in 64 exactly") {
  const Json tables = Json::read("tests/golden/rope/inv_freq.json");
  CHECK(tables.size() >= 4);
  for (const auto& [name, table] : tables.members()) {
    CAPTURE(name);
    const double theta = table.at("theta").as_double();
    const auto ours = kernels::inverse_frequencies(table.at("dim").as_int(), theta);
    const auto& bits = table.at("bits").items();
    REQUIRE(ours.size() == bits.size());
    int off = 0, rounded_once = 0;
    for (std::size_t k = 0; k < ours.size(); ++k) {
      const auto theirs = static_cast<std::uint32_t>(std::stoul(bits[k].as_string(), nullptr, 16));
      const auto distance = std::abs(static_cast<std::int64_t>(std::bit_cast<std::uint32_t>(ours[k])) -
                                     static_cast<std::int64_t>(theirs));
      CHECK(distance <= 1);
      off += distance != 0;
      const double exponent = -2.0 * static_cast<double>(k) / static_cast<double>(table.at("dim").as_int());
      rounded_once += std::bit_cast<std::uint32_t>(static_cast<float>(std::pow(theta, exponent))) != theirs;
    }
    CHECK(off <= 1);
    if (ours.size() == 64) CHECK(rounded_once > 4);  // the twin: rounding once instead of twice is noticed
  }
}

TEST_CASE(
    "rope turns pairs (j, j + D/2), and 2-D tables hold rows, then columns, then a class token's own angles (M-07, "
    "M-08)") {
  const Tensor positions = Tensor::of<std::int64_t>({-1, -1, 2, 3}, {2, 2}),
               freq = Tensor::of<float>({1.0f, 0.5f}, {2});
  const Tensor angles = Tensor::of<double>({0.1, 0.2, 0.3, 0.4}, {4});
  const Tensor cos({2, 4}, Dtype::f64, cpu()), sin = Tensor::like(cos);
  kernels::rope_table_2d_forward(
      {.cos = cos, .sin = sin, .positions = positions, .inv_freq = freq, .class_angles = angles});
  const double expected[2][4] = {{0.1, 0.2, 0.3, 0.4}, {2, 1, 3, 1.5}};
  for (int t = 0; t < 2; ++t)
    for (int j = 0; j < 4; ++j) CHECK(sin.row<double>(t)[j] == std::sin(expected[t][j]));

  const Tensor x = Tensor::of<double>({1, 0, 0, 0, 0, 0, 0, 0}, {1, 1, 8}), y = Tensor::like(x);
  kernels::rope_forward({.y = y, .x = x, .cos = cos.slice(0, 1, 2), .sin = sin.slice(0, 1, 2)});
  CHECK(y.data<double>()[0] == std::cos(2.0));
  CHECK(y.data<double>()[4] == std::sin(2.0));
  CHECK(y.data<double>()[1] == 0);
}
