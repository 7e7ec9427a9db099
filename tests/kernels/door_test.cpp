// What the doors of the kernels refuse, and the mixed types that they let through.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/layernorm.h"
#include "kernels/region_attention.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/rows.h"
#include "tests/autograd/gradient_check.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;
using namespace ov::kernels;

namespace {

Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::zeros(shape, dtype, cpu()); }
// [n, 1], every second element of memory.
Tensor column(std::int64_t n, Dtype dtype = Dtype::f32) { return zeros({n, 2}, dtype).slice(1, 0, 1); }

Tensor drawn(const Shape& shape, Dtype dtype, std::uint64_t seed) {
  test::Random random(seed);
  std::vector<double> v(static_cast<std::size_t>(shape.numel()));
  for (double& x : v) x = random();
  return Tensor::of(v, shape).to(dtype);
}

}  // namespace

TEST_CASE("a strided view where a kernel indexes flat is refused by name") {
  const Tensor x = zeros({3, 4}), w = zeros({4}), n = zeros({3});
  const auto strided = [](const std::string& said, const char* argument) {
    return said.find(argument) != said.npos && said.find("strided") != said.npos;
  };
  const auto norm = [&](const Tensor& w, const Tensor& rstd) {
    return thrown([&] { rmsnorm_forward({.y = x, .rstd = rstd, .x = x, .w = w, .eps = 1}); });
  };
  CHECK(norm(w, n) == "");
  CHECK(strided(norm(w, column(3)), "rstd"));
  const auto layer_norm = [&](const Tensor& mean) {
    return thrown([&] { layernorm_forward({.y = x, .mean = mean, .rstd = n, .x = x, .w = w, .b = w, .eps = 1}); });
  };
  CHECK(layer_norm(n) == "");
  CHECK(strided(layer_norm(column(3)), "mean"));
  const auto loss = [&](const Tensor& weights, const Tensor& lse) {
    return thrown([&] {
      cross_entropy_forward({.loss = zeros({1}),
                             .token_loss = n,
                             .lse = lse,
                             .logits = x,
                             .targets = zeros({3}, Dtype::i64),
                             .weights = weights,
                             .denominator = 1});
    });
  };
  CHECK(loss(n, zeros({3, 2})) == "");
  CHECK(loss(column(3), zeros({3, 2})) != "");
  CHECK(strided(loss(n, zeros({3, 4}).slice(1, 0, 2)), "lse"));
  CHECK(thrown([&] {
          rmsnorm_forward({.y = x, .rstd = n, .x = zeros({3, 8}).slice(1, 0, 4), .w = w, .eps = 1});
        }) == "");  // rows may lie apart
}

TEST_CASE("attention without heads is an error line, and so are heads that do not divide") {
  const auto attend = [](std::int64_t H, std::int64_t K) {
    const Tensor q = zeros({2, H, 4}), k = zeros({2, K, 4}), lse = zeros({2, H});
    const Tensor rows = Segments({{0, 2, 0, 2}}, 2, 2, true, cpu()).rows;
    const std::string forward = thrown([&] {
      attention_forward({.o = q, .lse = lse, .q = q, .k = k, .v = k, .segments = rows, .causal = true, .scale = 1});
    });
    const std::string backward = thrown([&] {
      attention_backward({.dq = Tensor::like(q),
                          .dk = Tensor::like(k),
                          .dv = Tensor::like(k),
                          .d_o = q,
                          .q = q,
                          .k = k,
                          .v = k,
                          .o = q,
                          .lse = lse,
                          .segments = rows,
                          .causal = true,
                          .scale = 1});
    });
    CHECK((forward == "") == (backward == ""));
    return forward;
  };
  CHECK(attend(4, 2) == "");
  CHECK(attend(4, 0) == "attention_forward: 4 query heads cannot share 0 key heads");
  CHECK(attend(0, 2) == "attention_forward: 0 query heads cannot share 2 key heads");
  CHECK(attend(0, 0) == "attention_forward: 0 query heads cannot share 0 key heads");
  CHECK(attend(4, 3) == "attention_forward: 4 query heads cannot share 3 key heads");
}

TEST_CASE("no rows, no columns and no heads divide nothing elsewhere") {
  const RegionSegments none({}, 3, cpu());
  const Tensor q = zeros({0, 2, 4}), k = zeros({3, 2, 4}), dk = Tensor::like(k);
  region_attention_forward(
      {.o = q, .lse = zeros({0, 2}), .q = q, .k = k, .v = k, .begin = none.begin, .rows = none.rows, .scale = 1});
  const Tensor h = zeros({2, 0, 4}), angles = zeros({2, 2}), empty = zeros({2, 0}), w = zeros({0});
  rope_forward({.y = h, .x = h, .cos = angles, .sin = angles});
  rope_backward({.dx = h, .dcos = angles, .dsin = angles, .dy = h, .x = h, .cos = angles, .sin = angles});
  rmsnorm_forward({.y = empty, .rstd = zeros({2}), .x = empty, .w = w, .eps = 1});
  gemm({.c = angles, .a = empty, .b = zeros({0, 2})});
  sum_rows({.sum = w, .x = empty});
  CHECK(angles.to_vector<float>() == std::vector<float>(4, 0.f));
}

TEST_CASE("segments that overlap, see nothing or lie outside are refused where they are made") {
  const auto made = [](SegmentTable t, bool causal = true) {
    return thrown([&] { Segments(t, 10, 10, causal, cpu()); });
  };
  CHECK(made({{0, 4, 0, 4}, {4, 6, 4, 6}}) == "");
  CHECK(made({{4, 6, 4, 6}, {0, 4, 0, 4}}) == "");
  CHECK(made({{0, 4, 0, 4}, {4, 0, 2, 0}, {4, 6, 4, 6}}) == "");  // an empty row overlaps nothing
  CHECK(made({{0, 5, 0, 5}, {4, 6, 5, 5}}, false).find("share queries from 4") != std::string::npos);
  CHECK(made({{0, 9, 0, 9}, {3, 1, 9, 1}}, false).find("share queries from 3") != std::string::npos);
  CHECK(made({{0, 5, 0, 6}, {5, 5, 5, 5}}).find("share keys from 5") != std::string::npos);
  CHECK(made({{0, 4, 0, 4}, {4, 3, 4, 3, 0}, {7, 3, 7, 3, 0}}) == "");  // branches share their prefix
  CHECK(made({{0, 4, 0, 4}, {4, 3, 4, 3, 0}, {7, 3, 7, 3, 1}}).find("one level") != std::string::npos);
  CHECK(made({{0, 4, 0, 4, 0}}).find("does not come before") != std::string::npos);
  CHECK(made({{0, 11, 0, 4}}) != "");
  CHECK(made({{0, 4, 8, 4}}) != "");
  CHECK(made({{-1, 4, 0, 4}}) != "");
  CHECK(made({{INT64_MAX, 2, 0, 4}}) != "");
  CHECK(made({{2, INT64_MAX, 0, 4}}) != "");
  CHECK(made({{0, 4, 0, 0}}, false).find("without keys") != std::string::npos);
  CHECK(made({{0, 4, 0, 3}}).find("fewer keys") != std::string::npos);
  const auto regions = [](RegionTable t) { return thrown([&] { RegionSegments(t, 4, cpu()); }); };
  CHECK(regions({{0, 2, 3}, {0, 3, 3}}) == "");
  CHECK(regions({{0, 2, 2}, {0, 3}}).find("sees no row") != std::string::npos);
  CHECK(regions({{0, 2}, {0, 4}}).find("outside of [0, 4)") != std::string::npos);
  CHECK(regions({{0, 1}, {0, 3}}) != "");
  CHECK(regions({{1, 2}, {0, 3}}) != "");
  CHECK(regions({{}, {}}) != "");
}

TEST_CASE("products and sums of bf16 reach f32, and a bf16 result is rounded once") {
  const std::int64_t M = 7, N = 19, L = 800;  // more than two blocks of k
  const Tensor a = drawn({L, M}, Dtype::bf16, 1), b = drawn({L, N}, Dtype::bf16, 2);
  const Tensor start = drawn({M, N}, Dtype::bf16, 3);
  const Tensor f32 = start.to(Dtype::f32), exact = start.to(Dtype::f32), rounded = start.contiguous_copy();
  gemm({.c = exact, .a = a.to(Dtype::f32), .b = b.to(Dtype::f32), .trans_a = true, .accumulate = true});
  gemm({.c = f32, .a = a, .b = b, .trans_a = true, .accumulate = true});
  gemm({.c = rounded, .a = a, .b = b, .trans_a = true, .accumulate = true});
  CHECK(f32.to_vector<float>() == exact.to_vector<float>());
  CHECK(rounded.to(Dtype::f32).to_vector<float>() == exact.to(Dtype::bf16).to(Dtype::f32).to_vector<float>());
  CHECK_THROWS_AS(gemm({.c = zeros({M, N}, Dtype::f64), .a = a, .b = b, .trans_a = true}), Error);

  const Tensor sum = drawn({M, N}, Dtype::f32, 4), before = sum.contiguous_copy();
  add({.y = sum, .a = sum, .b = start});
  for (std::int64_t i = 0; i < M * N; ++i)
    CHECK(sum.data<float>()[i] == before.data<float>()[i] + float(start.data<Bf16>()[i]));
  CHECK_THROWS_AS(add({.y = start, .a = sum, .b = start}), Error);
  CHECK_THROWS_AS(add({.y = sum, .a = start, .b = start}), Error);
  CHECK_THROWS_AS(add({.y = sum, .a = sum, .b = sum.to(Dtype::f64)}), Error);
}

TEST_CASE("AdamW moves f32 masters by f32 gradients, and bf16 parameters are the masters rounded") {
  const std::int64_t n = 1000;
  const Tensor start = drawn({n}, Dtype::bf16, 5), grad = drawn({n}, Dtype::f32, 6);
  const Tensor clip = Tensor::of(std::vector<double>{0.5}, {1});
  struct State {
    Tensor w, m, v;
  };
  const auto state = [&] { return State{start.to(Dtype::f32), zeros({n}), zeros({n})}; };
  const State plain = state(), master = state();
  const Tensor param = start.contiguous_copy();
  const auto step = [&](const Tensor& param, const State& s, const Tensor& w, std::int64_t t, const Tensor& clip) {
    adamw({.param = param,
           .m = s.m,
           .v = s.v,
           .grad = grad,
           .clip = clip,
           .lr = 1e-4,
           .beta1 = 0.9,
           .beta2 = 0.99,
           .eps = 1e-5,
           .weight_decay = 0.1,
           .step = t,
           .master = w});
  };
  for (std::int64_t t = 1; t <= 5; ++t) step(plain.w, plain, {}, t, clip), step(param, master, master.w, t, clip);
  CHECK(master.w.to_vector<float>() == plain.w.to_vector<float>());
  CHECK(param.to(Dtype::f32).to_vector<float>() == plain.w.to(Dtype::bf16).to(Dtype::f32).to_vector<float>());
  // Five steps of 1e-4 are less than bf16 can hold next to 1: without masters most weights would have stood still.
  CHECK(plain.w.to_vector<float>() != param.to(Dtype::f32).to_vector<float>());
  CHECK_THROWS_AS(step(param, master, {}, 6, clip), Error);
  CHECK_THROWS_AS(step(plain.w, plain, master.w, 6, clip), Error);

  const auto w = master.w.to_vector<float>(), m = master.m.to_vector<float>();
  for (const double bad : {NAN, INFINITY}) {
    step(param, master, master.w, 6, Tensor::of(std::vector<double>{bad}, {1}));
    CHECK(master.w.to_vector<float>() == w);
    CHECK(master.m.to_vector<float>() == m);
  }
}

TEST_CASE("AdamW and the sums of squares in f32 agree with f64 at the edge sizes of vectors and chunks") {
  for (const std::int64_t n : {1, 7, 8, 9, 17, 31, 4095, 4096, 4097, 12289}) {
    CAPTURE(n);
    const Tensor clip = Tensor::of(std::vector<double>{0.5}, {1});
    std::vector<std::vector<double>> results;  // parameters, norm; f64 first
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      const Tensor w = drawn({n}, Dtype::f32, 7).to(dtype), grad = drawn({n}, Dtype::f32, 8).to(dtype);
      const Tensor m = zeros({n}, dtype), v = zeros({n}, dtype), partial = zeros({(n + 4095) / 4096}, Dtype::f64);
      for (std::int64_t t = 1; t <= 2; ++t)
        adamw({.param = w,
               .m = m,
               .v = v,
               .grad = grad,
               .clip = clip,
               .lr = 0.1,
               .beta1 = 0.9,
               .beta2 = 0.99,
               .eps = 1e-5,
               .weight_decay = 0.1,
               .step = t});
      squared_sums({.partial = partial, .x = grad});
      results.push_back(w.to(Dtype::f64).to_vector<double>());
      double norm = 0;
      for (const double p : partial.to_vector<double>()) norm += p;
      results.push_back({norm});
    }
    // Two steps of at most 0.1 on values below 1: a dozen roundings. The squares are exact in f64.
    for (std::size_t i = 0; i < results[0].size(); ++i) CHECK(std::abs(results[2][i] - results[0][i]) < 12 * 0x1p-24);
    CHECK(results[3] == results[1]);
    CHECK(std::abs(results[1][0] - static_cast<double>(n) / 3) <
          2 * std::sqrt(static_cast<double>(n)));  // uniform in [-1, 1): a third each
  }
}

TEST_CASE("the clip factor: the norm over fixed chunks, 1 below the limit, NaN where the norm is not finite") {
  const auto clip = [](const std::vector<double>& partial, double limit) {
    const Tensor norm({1}, Dtype::f64, cpu()), factor = Tensor::like(norm);
    const auto n = static_cast<std::int64_t>(partial.size());
    clip_factor({.norm = norm, .clip = factor, .partial = Tensor::of(partial, {n}), .limit = limit});
    return std::pair{norm.data<double>()[0], factor.data<double>()[0]};
  };
  CHECK(clip({9, 16}, 1) == std::pair{5.0, 1 / (5 + 1e-6)});
  CHECK(clip({9, 16}, 10) == std::pair{5.0, 1.0});
  CHECK(clip({9, 16}, 0) == std::pair{5.0, 1.0});
  CHECK(clip({}, 1) == std::pair{0.0, 1.0});
  for (const double bad : {NAN, INFINITY}) {
    CHECK_FALSE(std::isfinite(clip({1, bad}, 1).first));
    CHECK(std::isnan(clip({1, bad}, 1).second));
    CHECK(std::isnan(clip({1, bad}, 0).second));
  }
}

TEST_CASE("bf16 is the nearest f32 of eight digits, ties to even; NaN and infinity stay what they are") {
  const auto bits = [](float x) { return Bf16(x).bits; };
  CHECK(bits(1.f) == 0x3f80);
  CHECK(bits(1.f + 0x1p-8f) == 0x3f80);  // half-way, to the even neighbour
  CHECK(bits(1.f + 0x1p-8f + 0x1p-20f) == 0x3f81);
  CHECK(bits(1.f + 3 * 0x1p-8f) == 0x3f82);
  CHECK(bits(-0.f) == 0x8000);
  CHECK(bits(INFINITY) == 0x7f80);
  CHECK(bits(3.4e38f) == 0x7f80);  // beyond the largest
  CHECK(std::isnan(float(Bf16(NAN))));
  for (std::uint32_t b = 0; b < 0x10000; ++b) {
    const Bf16 x = Bf16::from_bits(static_cast<std::uint16_t>(b));
    if (!std::isnan(float(x))) CHECK(Bf16(float(x)).bits == b);
  }
}
