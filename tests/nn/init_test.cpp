// Random initial values: a function of seed, name and element.
#include "nn/init.h"

#include <doctest/doctest.h>

#include <cmath>

#include "base/parallel.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

namespace {

// A parameter of every role, large enough to measure: 256 x 200 elements in matrices.
void declare_all(Parameters& set, bool reversed = false) {
  struct Kind {
    const char* name;
    Shape shape;
    Role role;
  };
  std::vector<Kind> kinds = {{"matrix", {256, 200}, Role::matrix},
                             {"out", {256, 200}, Role::projection_out},
                             {"embedding", {256, 200}, Role::embedding},
                             {"patch", {256, 3, 8, 8}, Role::patch_embedding},
                             {"bias", {256}, Role::bias},
                             {"norm.weight", {256}, Role::norm_weight},
                             {"norm.bias", {256}, Role::norm_bias},
                             {"class", {4096}, Role::class_vector},
                             {"angles", {1, 4096}, Role::class_angles}};
  if (reversed) std::reverse(kinds.begin(), kinds.end());
  for (const Kind& k : kinds) set.declare(k.name, k.shape, k.role);
}

Parameters initialized(const InitOptions& options, std::uint64_t seed, Dtype dtype = Dtype::f32) {
  Parameters set;
  declare_all(set);
  set.allocate(dtype, cpu());
  initialize(set, options, seed);
  return set;
}

std::vector<float> values(Parameters& set, const char* name) { return set.find(name)->value.to_vector<float>(); }

struct MeanAndSpread {
  double mean = 0, std = 0, largest = 0;
};
MeanAndSpread moments(const std::vector<float>& x) {
  MeanAndSpread m;
  for (const float v : x) m.mean += v, m.largest = std::max(m.largest, std::abs(static_cast<double>(v)));
  m.mean /= static_cast<double>(x.size());
  for (const float v : x) m.std += (v - m.mean) * (v - m.mean);
  m.std = std::sqrt(m.std / static_cast<double>(x.size()));
  return m;
}

// Of n normal values the mean is within 5 σ/√n and the deviation within 5 σ/√(2n): missed once in two million
// times.
void check_normal(const std::vector<float>& x, double sigma) {
  const MeanAndSpread m = moments(x);
  const auto n = static_cast<double>(x.size());
  CHECK(std::abs(m.mean) <= 5 * sigma / std::sqrt(n));
  CHECK(std::abs(m.std - sigma) <= 5 * sigma / std::sqrt(2 * n));
}

}  // namespace

TEST_CASE("every role gets its distribution") {
  const InitOptions options = {
      .matrix_std = 0.02, .projection_out_std = 0.01, .embedding_std = 0.03, .patch_embedding_std = 0.05};
  Parameters set = initialized(options, 1);
  check_normal(values(set, "matrix"), 0.02);
  check_normal(values(set, "out"), 0.01);
  check_normal(values(set, "embedding"), 0.03);
  check_normal(values(set, "patch"), 0.05);
  check_normal(values(set, "class"), 1 / 64.0);  // 1/√d
  check_normal(values(set, "angles"), 1);
  for (const float x : values(set, "bias")) CHECK(x == 0);
  for (const float x : values(set, "norm.bias")) CHECK(x == 0);
  for (const float x : values(set, "norm.weight")) CHECK(x == 1);

  InitOptions fan_in = options;
  fan_in.matrix = "uniform_fan_in";
  fan_in.projection_out_std = 0;  // as other matrices
  fan_in.class_vector_std = 0.5;
  Parameters uniform = initialized(fan_in, 1);
  for (const char* name : {"matrix", "out"}) {
    const double bound = 1 / std::sqrt(200.0);
    const MeanAndSpread m = moments(values(uniform, name));
    CHECK(m.largest <= bound * (1 + 1e-7));
    CHECK(m.largest > 0.999 * bound);
    CHECK(std::abs(m.std - bound / std::sqrt(3.0)) <= 0.01 * bound);
  }
  check_normal(values(uniform, "class"), 0.5);
}

TEST_CASE("a value depends on seed, name and element: not on the order of declaration, the threads, the precision") {
  Parameters set = initialized({}, 7);
  Parameters reversed;
  declare_all(reversed, true);
  reversed.allocate(Dtype::f32, cpu());
  const int before = threads();
  set_threads(3);
  initialize(reversed, {}, 7);
  set_threads(before);
  Parameters wide = initialized({}, 7, Dtype::f64), other = initialized({}, 8);
  for (const auto& e : set.entries()) {
    const std::string& name = e.parameter.name;
    CAPTURE(name);
    CHECK(same_bits(e.parameter.value, reversed.find(name)->value));
    CHECK(same_bits(e.parameter.value, wide.find(name)->value.to(Dtype::f32)));
    const bool random =
        e.parameter.role != Role::bias && e.parameter.role != Role::norm_bias && e.parameter.role != Role::norm_weight;
    CHECK(same_bits(e.parameter.value, other.find(name)->value) == !random);
  }
  CHECK_FALSE(same_bits(set.find("matrix")->value, set.find("out")->value));
}

TEST_CASE("only what is asked for is drawn, with the values it has among all") {
  Parameters all = initialized({}, 3), some = initialized({}, 4), before = initialized({}, 4);
  initialize(some, {}, 3, [](const std::string& name) { return name == "matrix"; });
  CHECK(same_bits(some.find("matrix")->value, all.find("matrix")->value));
  for (const char* name : {"out", "embedding", "class", "angles"})
    CHECK(same_bits(some.find(name)->value, before.find(name)->value));
}

TEST_CASE("an initialisation that does not exist is refused") {
  try {
    initialized({.matrix = "xavier"}, 1);
    FAIL("took xavier");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    CHECK(std::string(e.what()) == "init.matrix: expected normal or uniform_fan_in, got xavier");
  }
}
