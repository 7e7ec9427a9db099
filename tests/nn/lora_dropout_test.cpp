// LoRA's dropout is PEFT's: what A reads loses a share of its elements, each adapter its own, in training steps alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "nn/layers.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

struct TwoLayers {
  Parameters set;
  Linear q, v;
  explicit TwoLayers(double share, std::uint64_t seed = 1, Dtype dtype = Dtype::f64)
      : q(set, "m.q_proj", 6, 8, false), v(set, "m.v_proj", 6, 8, false) {
    set.adapt({.rank = 2, .alpha = 3, .targets = {"all-linear"}, .dropout = share, .seed = seed});
    set.allocate(dtype, cpu());
    const Philox random(7, "weights");
    for (std::int64_t i = 0; i < set.count(); ++i) values()[i] = random.normal(static_cast<std::uint64_t>(i));
    set.train([](const Parameter& p) { return is_lora(p); });
  }
  double* values() { return set.values().data<double>(); }
};

Tensor input(std::int64_t rows) {
  const Tensor x({rows, 8}, Dtype::f64, cpu());
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 1 + 0.01 * static_cast<double>(i);
  return x;
}

Tensor run(const Linear& layer, const Tensor& x, const Tape::Draws& draws) {
  Tape tape;
  tape.draw(draws);
  return layer(tape.input(x)).value;
}

}  // namespace

TEST_CASE("lora dropout: y = x wᵀ + s b a (x mask / (1 - p)), with a mask by seed, name, step, micro-batch, element") {
  TwoLayers m(0.25);
  const Tensor x = input(5);
  const Tape::Draws draws{.on = true, .step = 3, .leaf = 2};
  const Philox random(1, "dropout m.q_proj.lora_A.weight", 3);
  const Tensor seen({5, 8}, Dtype::f64, cpu());
  for (std::uint64_t i = 0; i < 40; ++i)
    seen.data<double>()[i] =
        random.uniform_f32((std::uint64_t{2} << 40) + i) < 0.25F ? 0 : x.data<double>()[i] * (1 / (1 - 0.25));
  const auto product = [](const Tensor& a, const Tensor& w) { return linear(Var{a}, Var{w}).value; };
  const Tensor low = product(product(seen, m.set.find("m.q_proj.lora_A.weight")->value).to(Dtype::f64),
                             m.set.find("m.q_proj.lora_B.weight")->value),
               base = product(x, m.q.w->value), y = run(m.q, x, draws);
  for (std::int64_t i = 0; i < y.numel(); ++i)
    CHECK(y.data<double>()[i] == doctest::Approx(base.data<double>()[i] + 1.5 * low.data<double>()[i]).epsilon(1e-12));

  CHECK(same_bits(run(m.q, x, draws), y));
  for (const Tape::Draws& other : {Tape::Draws{true, 4, 2}, Tape::Draws{true, 3, 1}, Tape::Draws{}})
    CHECK_FALSE(same_bits(run(m.q, x, other), y));
  CHECK_FALSE(same_bits(run(TwoLayers(0.25, 2).q, x, draws), y));
  // Outside of training nothing is dropped, with or without a tape.
  TwoLayers none(0);
  CHECK(same_bits(run(m.q, x, {}), run(none.q, x, draws)));
  CHECK(same_bits(m.q(Var{x}).value, run(none.q, x, {})));
}

TEST_CASE("lora dropout: the share is the one asked for, and two adapters that read one x drop different elements") {
  const std::int64_t rows = 1000;
  const Tensor x({rows, 8}, Dtype::f64, cpu());
  x.fill(1);
  const auto dropped = [&](const char* name) {
    const Tensor y = dropout(Var{x}, 0.3, Philox(1, name, 1)).value;
    std::vector<bool> out;
    for (std::int64_t i = 0; i < y.numel(); ++i) out.push_back(y.data<double>()[i] == 0);
    return out;
  };
  const auto q = dropped("q"), v = dropped("v");
  const auto share = static_cast<double>(std::count(q.begin(), q.end(), true)) / static_cast<double>(q.size());
  CHECK(std::abs(share - 0.3) < 5 * std::sqrt(0.3 * 0.7 / static_cast<double>(q.size())));
  CHECK(q != v);
  CHECK(dropout(Var{x}, 1, Philox(1, "q", 1)).value.to_vector<double>() == std::vector<double>(8 * rows, 0.0));
}
