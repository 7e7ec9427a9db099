// What tokens attend to: the masses are those of the model's own attention, and nothing around a request changes them.
#include "generate/attention_map.h"

#include <doctest/doctest.h>

#include "kernels/attention.h"
#include "tests/check.h"
#include "tests/generate/questions.h"

using namespace ov;
using namespace ov::test;

namespace {

// A cache of which nobody appends.
struct NoStore : KvStore {
  Tensor append_keys(std::int64_t, const Tensor& k) override { return k; }
  Tensor append_values(std::int64_t, const Tensor& v) override { return v; }
  void advance(std::int64_t) override {}
};

std::vector<std::vector<double>> attention_of(Engine& engine, Request r, bool wanted, Answer& answer) {
  std::vector<std::vector<double>> out;
  r.attention = wanted;
  r.token = [&](const Token& t) {
    answer.ids.push_back(t.id), answer.logprobs.push_back(t.logprob);
    out.push_back(t.attention);
    return true;
  };
  r.done = [&answer](const Finish& f) { answer.finish = f, ++answer.ended; };
  engine.submit(std::move(r));
  engine.run();
  return out;
}

}  // namespace

TEST_CASE("attention map: masses are the weights by which the attention kernel adds values, over heads and layers") {
  constexpr std::int64_t T = 5, S = 12, H = 4, K = 2, D = 16, layers = 3;
  const Philox random(3, "attention");
  std::uint64_t at = 0;
  const auto drawn = [&](const Shape& shape) {
    const Tensor t(shape, Dtype::f64, cpu());
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = random.normal(at++);
    return t;
  };
  NoStore store;
  // Rows 3 and 4 of the pass are the last of a segment of keys 2 .. 11; row 4 sees them all, row 3 all but one.
  const std::vector<std::int64_t> places = {0, 3, 4, 8};
  AttentionMap map(store, layers, {{4, 2, 10, places}, {3, 2, 9, places}});
  std::vector<double> expected[2] = {std::vector<double>(4), std::vector<double>(4)};
  const Tensor v = Tensor::zeros({S, K, D}, Dtype::f64, cpu());  // key 2 + d says 1 at d
  for (std::int64_t d = 0; d < 10; ++d)
    for (std::int64_t k = 0; k < K; ++k) v.data<double>()[((2 + d) * K + k) * D + d] = 1;
  const kernels::Segments segments({{3, 2, 2, 10}}, T, S, true, cpu());
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const Tensor q = drawn({T, H, D}), k = drawn({S, K, D});
    map.attends(layer, q, k, 0.7);
    const Tensor o({T, H, D}, Dtype::f64, cpu()), lse({T, H}, Dtype::f64, cpu());
    kernels::attention_forward(
        {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segments = segments.rows, .causal = true, .scale = 0.7});
    for (const std::size_t which : {0, 1})
      for (std::size_t i = 0; i < places.size(); ++i)
        for (std::int64_t h = 0; h < H; ++h)
          expected[which][i] +=
              o.data<double>()[((4 - static_cast<std::int64_t>(which)) * H + h) * D + places[i]] / (layers * H);
  }
  for (const std::size_t which : {0, 1}) {
    REQUIRE(map.watches()[which].mass.size() == places.size());
    for (std::size_t i = 0; i < places.size(); ++i)
      CHECK(std::abs(map.watches()[which].mass[i] - expected[which][i]) < 1e-14);
  }
}

TEST_CASE(
    "attention map: an answer is the same with it and without; it is the same alone, in a crowd, cut and shared") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const auto model = engine_model(false, dtype);
    const Questions questions(*model, 9);
    for (const std::size_t i : {1, 2, 5, 8}) {
      const Request& r = questions.all()[i];
      std::int64_t patches = 0;
      for (const Picture& p : r.pictures) patches += p.grid.patches() / 4;
      Answer with, without, crowded;
      Engine alone(*model, {.max_running = 1, .share = false}), plain(*model, {.max_running = 1, .share = false});
      const auto told = attention_of(alone, r, true, with), silent = attention_of(plain, r, false, without);
      CHECK(with == without);
      REQUIRE(told.size() == with.ids.size());
      for (const auto& masses : told) {
        CHECK(std::ssize(masses) == patches);
        double all = 0;
        for (const double mass : masses) CHECK(mass > 0), all += mass;
        CHECK(all < 1);
      }
      for (const auto& masses : silent) CHECK(masses.empty());
      Engine crowd(*model, {.chunk = 16});
      std::vector<Answer> others(9);
      for (std::size_t k = 0; k < 9; ++k) ask(crowd, questions.all()[k], others[k]);
      for (int k = 0; k < 3; ++k) crowd.step();
      CHECK(attention_of(crowd, r, true, crowded) == told);
      CHECK(crowded == with);
    }
  }
}
