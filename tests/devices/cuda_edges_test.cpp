// Places at which a planted fault went unseen: CUDA kernels beyond the end of what they read, on fenced memory, and
// shapes, strides and values that no other test has.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <functional>

#include "kernels/row_products.h"
#include "kernels/table.h"
#include "tests/devices/in_a_child.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_attention.h"
#include "tests/kernels/cuda_twins.h"

using namespace ov;
using namespace ov::kernels;
using namespace ov::test;

namespace {

Tensor numbers(Device& device, Dtype dtype, const Shape& shape, unsigned seed) {
  return on(device, drawn(shape.numel(), seed), shape).to(dtype);
}

// What a child says in which f works on memory whose blocks end at the end of a page; "": it ended well.
std::string on_fenced(const std::function<void(Device&)>& f) {
  const auto [text, signal] = in_a_child([&] {
    try {
      SimDevice device(ForeignDevice::Policy::eager, 0, std::size_t{1} << 28, ForeignDevice::Layout::fenced);
      f(device);
      device.synchronize();
    } catch (const std::exception& e) { std::fprintf(stderr, "%s\n", e.what()); }
  });
  return signal ? cat("signal ", signal, ": ", text) : text;
}

}  // namespace

TEST_CASE("experts: a slot of the row behind the last is none: NaN, and nothing is read or written there") {
  CHECK(on_fenced([](Device& d) {
          const Tensor x = numbers(d, Dtype::f32, {2, 4}, 1), y = numbers(d, Dtype::f32, {1, 4}, 2);
          const Tensor dx = Tensor::zeros({2, 4}, Dtype::f32, d), dweights = Tensor::zeros({1, 2}, Dtype::f32, d);
          const Tensor slots = on(d, std::vector<std::int64_t>{1, 2}, {1, 2}),
                       weights = numbers(d, Dtype::f32, {1, 2}, 3);
          combine_forward({.y = y, .x = x, .weights = weights, .slots = slots});
          combine_backward(
              {.dx = dx, .dweights = dweights, .dy = x.slice(0, 0, 1), .x = x, .weights = weights, .slots = slots});
          if (!std::isnan(y.to_vector<float>()[0])) std::fprintf(stderr, "a sum without its row\n");
          if (!std::isnan(dweights.to_vector<float>()[1])) std::fprintf(stderr, "a gradient without its row\n");
        }) == "");
}

TEST_CASE("cluster loss: rows whose classes all lie on one side of 0 and rows of one kind have the CPU's bits") {
  std::vector<float> logits = drawn(4 * 20, 1), roles(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const std::size_t r = i / 20;
    logits[i] = (r % 2 ? -1.f : 1.f) * (std::abs(logits[i]) + 1);
    roles[i] = r == 2 ? 1.f : r == 3 ? 2.f : float(1 + i % 3);  // both; both; negatives alone; positives alone
  }
  SimDevice simulated(ForeignDevice::Policy::eager);
  std::vector<Tensor> results[2];
  for (Device* d : {static_cast<Device*>(&ov::cpu()), static_cast<Device*>(&simulated)}) {
    const Tensor loss({1}, Dtype::f32, *d), of_rows({4}, Dtype::f32, *d), lse({4, 2}, Dtype::f32, *d);
    cluster_loss_forward({.loss = loss,
                          .row_loss = of_rows,
                          .lse = lse,
                          .logits = on(*d, logits, {4, 20}),
                          .roles = on(*d, roles, {4, 20}).to(Dtype::u8),
                          .weights = on(*d, std::vector<float>(4, 1.f), {4}),
                          .denominator = 4});
    results[d == &simulated] = {loss, of_rows, lse};
  }
  for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(results[0][i], results[1][i]));
  for (const float l : results[0][1].to_vector<float>()) CHECK(std::isfinite(l));
}

// Lengths are multiples of 16 bytes, so that a block's last byte is the page's.
TEST_CASE("fenced: products of rows read no row of x or w that is not there, and no column") {
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const auto& [N, F, C] : {std::array<std::int64_t, 3>{3, 33, 72}, {9, 65, 8}, {33, 31, 392}})
      for (const bool chunk : {false, true}) {
        CAPTURE(name_of(dtype));
        CAPTURE(N);
        CAPTURE(chunk);
        CHECK(on_fenced([&, N = N, F = F, C = C](Device& d) {
                const Tensor x = numbers(d, dtype, {std::min<std::int64_t>(N, chunk ? N : 16), C}, 1);
                const Tensor w = numbers(d, dtype, {F, C}, 2), y({x.dim(0), F}, dtype, d);
                std::optional<RowProducts> wanted;
                if (chunk) wanted.emplace();
                gemm({.c = y, .a = x, .b = w, .trans_b = true});
              }) == "");
      }
}

TEST_CASE("fenced: the gradient of an embedding reads no position that is not there") {
  for (const std::int64_t C : {4, 5})
    CHECK(on_fenced([&](Device& d) {
            const Tensor dtable = Tensor::zeros({3, C}, Dtype::f32, d);
            const Tensor ids = on(d, std::vector<std::int64_t>{2, 0, 2, 2}, {4});
            embedding_backward({.dtable = dtable, .dy = numbers(d, Dtype::f32, {4, C}, 1), .ids = ids});
          }) == "");
}

TEST_CASE("fenced: sums over rows read no column that is not there") {
  CHECK(on_fenced([](Device& d) {
          const Tensor sums = Tensor::zeros({36}, Dtype::f32, d);
          sum_rows({.sum = sums, .x = numbers(d, Dtype::f32, {64, 36}, 1)});
        }) == "");
}

TEST_CASE("fenced: grouped products read and write the rows of their experts alone") {
  const std::vector<std::int64_t> offsets = {0, 5, 5, 40, 44};
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
    for (const auto& [F, C] : {std::pair{std::int64_t{12}, std::int64_t{36}}, {24, 72}})
      for (int form = 0; form < 3; ++form) {
        CAPTURE(name_of(dtype));
        CAPTURE(form);
        CAPTURE(C);
        CHECK(on_fenced([&, F = F, C = C](Device& d) {
                const auto like = [&](std::int64_t rows, std::int64_t columns) {
                  return numbers(d, dtype, {rows, columns}, 1);
                };
                const Tensor of_x = like(44, C), of_y = like(44, F), w = like(4 * F, C);
                const Tensor at = on(d, offsets, {5});
                if (form == 0) grouped_gemm({.c = of_y, .a = of_x, .b = w, .offsets = at, .trans_b = true});
                if (form == 1) grouped_gemm({.c = of_x, .a = of_y, .b = w, .offsets = at});
                if (form == 2)
                  grouped_gemm({.c = numbers(d, Dtype::f32, {4 * F, C}, 2),
                                .a = of_y,
                                .b = of_x,
                                .offsets = at,
                                .trans_a = true,
                                .accumulate = true});
              }) == "");
      }
}

TEST_CASE("fenced: search and class ranks read the rows that there are") {
  CHECK(on_fenced([](Device& d) {
          const Tensor a = numbers(d, Dtype::f32, {3, 36}, 1), b = numbers(d, Dtype::f32, {70, 36}, 2);
          nearest({.ids = Tensor({3, 4}, Dtype::i32, d), .scores = Tensor({3, 4}, Dtype::f32, d), .a = a, .b = b});
        }) == "");
  for (const std::int64_t S : {16, 144})
    CHECK(on_fenced([&](Device& d) {
            const std::vector<std::uint8_t> roles(std::size_t(2 * S), 1), positive(std::size_t(2 * S), 2);
            cluster_hits({.hits = on(d, std::vector<double>{0}, {1}),
                          .cos = numbers(d, Dtype::f32, {2, S}, 1),
                          .roles = on(d, positive, {2, S}),
                          .k = on(d, std::vector<std::int64_t>{3, 3}, {2})});
            cluster_above({.above = on(d, std::vector<std::int64_t>{0, 0}, {2}),
                           .cos = numbers(d, Dtype::f32, {2, S}, 1),
                           .roles = on(d, roles, {2, S}),
                           .value = on(d, std::vector<float>{0, 1}, {2}),
                           .row = on(d, std::vector<std::int64_t>{1, 1}, {2}),
                           .column = on(d, std::vector<std::int64_t>{0, S - 1}, {2})});
          }) == "");
}

TEST_CASE("adamw: moments rounded by chance take the same words in ranges as whole") {
  // Three ranges, none of which begins on a multiple of 4, over all of 1500.
  const std::int64_t n = 1500;
  const std::vector<AdamwRange> ranges = {{0, 0, 5, 1e-2, 0.1}, {5, 5, 1030, 1e-2, 0.1}, {1035, 1035, 465, 1e-2, 0.1}};
  SimDevice gpu;
  std::vector<std::vector<Tensor>> results;
  for (Device* d : {&ov::cpu(), static_cast<Device*>(&gpu)})
    for (const bool apart : {false, true}) {
      const Tensor param = numbers(*d, Dtype::f32, {n}, 1), m = numbers(*d, Dtype::bf16, {n}, 2);
      const Tensor v = Tensor::zeros({n}, Dtype::bf16, *d), grad = numbers(*d, Dtype::f32, {n}, 3);
      adamw({.param = param,
             .m = m,
             .v = v,
             .grad = grad,
             .clip = on(*d, std::vector<double>{1}, {1}),
             .lr = 1e-2,
             .beta1 = 0.9,
             .beta2 = 0.999,
             .eps = 1e-8,
             .weight_decay = 0.1,
             .step = 2,
             .ranges = apart ? ranges : std::vector<AdamwRange>{},
             .random = Philox(5, "moments", 2),
             .first = 7});
      results.push_back({param, m, v});
    }
  for (std::size_t i = 1; i < results.size(); ++i)
    for (std::size_t t = 0; t < results[i].size(); ++t) CHECK(same_bits(results[i][t], results[0][t]));
}

TEST_CASE("rows with more than two strides are refused by the CUDA twins, which would read elsewhere") {
  SimDevice d;
  const Tensor x = numbers(d, Dtype::f32, {2, 3, 4, 8}, 1), y({2, 2, 2, 8}, Dtype::f32, d);
  const Tensor part = x.slice(1, 0, 2).slice(2, 1, 3);  // rows 8, 32 and 96 apart
  CHECK_THROWS_WITH_AS(copy({.y = y, .x = part}), doctest::Contains("takes rows with two strides"), Error);
  copy({.y = y.slice(1, 0, 1), .x = part.slice(1, 0, 1)});
  CHECK(same_bits(y.slice(1, 0, 1).to(ov::cpu()), x.to(ov::cpu()).slice(1, 0, 1).slice(2, 1, 3)));
}

TEST_CASE("nearest: exact scores that all lie above an f32 score are not taken for proved") {
  // All 40 products are 3 in f32; exactly they rise by 1e-9.
  std::vector<float> rising(40 * 4, 1.0f);
  for (std::size_t m = 0; m < 40; ++m) rising[4 * m] = 1e-9f * static_cast<float>(m);
  SimDevice d;
  const Tensor ids({1, 3}, Dtype::i32, d), scores({1, 3}, Dtype::f32, d);
  nearest(
      {.ids = ids, .scores = scores, .a = on(d, std::vector<float>{1, 1, 1, 1}, {1, 4}), .b = on(d, rising, {40, 4})});
  CHECK(ids.to_vector<std::int32_t>() == std::vector<std::int32_t>{39, 38, 37});
}

TEST_CASE("gemm: for generation in bf16, rows that are no multiples of 16 bytes apart go to the other kernel") {
  SimDevice d;
  const std::int64_t N = 5, F = 9, C = 64;
  const auto product = [&](const Tensor& x, const Tensor& w) {
    const Tensor y({N, F}, Dtype::bf16, d);
    const RowProducts wanted;
    gemm({.c = y, .a = x, .b = w, .trans_b = true});
    return y;
  };
  const Tensor x = numbers(d, Dtype::bf16, {N, C}, 1), w = numbers(d, Dtype::bf16, {F, C}, 2);
  const Tensor far_x = Tensor({N, C + 3}, Dtype::bf16, d).slice(1, 0, C),
               far_w = Tensor({F, C + 3}, Dtype::bf16, d).slice(1, 0, C);
  far_x.copy_from(x), far_w.copy_from(w);
  const Tensor expected = product(far_x, far_w);
  CHECK(same_bits(product(x, far_w), expected));
  CHECK(same_bits(product(far_x, w), expected));
  for (const float y : expected.to(Dtype::f32).to_vector<float>()) CHECK(std::isfinite(y));
}

// Keys that stand in a cache before the queries: the first query that sees key 64 is number 63.
TEST_CASE("attention: behind a cache of one key, the gradient of a key takes the first query that sees it") {
  const AttentionCase c{"behind one key", {{0, 130, 0, 131}}, 130, 131, true};
  const auto plain = [&](Device& d) {
    return attend_on(d, Dtype::f32, c, 2, 1, 16, attention_forward, attention_backward);
  };
  SimDevice d;
  check_same(plain(d), plain(ov::cpu()));
}

TEST_CASE("attention: heads of bf16 that stand at no multiples of 16 bytes have the CPU's bits, by the plain kernel") {
  const std::int64_t T = 5, H = 2, D = 16;
  SimDevice gpu;
  for (const bool tokens : {false, true}) {
    std::vector<Tensor> results;
    for (Device* d : {&ov::cpu(), static_cast<Device*>(&gpu)}) {
      const auto apart = [&](unsigned seed) {  // heads 20 numbers apart, tokens 40; or heads of one token together
        return tokens ? numbers(*d, Dtype::bf16, {T, H * D + 3}, seed).slice(1, 0, H * D).view({T, H, D})
                      : numbers(*d, Dtype::bf16, {T, H, D + 4}, seed).slice(2, 0, D);
      };
      const Tensor o({T, H, D}, Dtype::bf16, *d), lse({T, H}, Dtype::f32, *d);
      const Segments segments({{0, T, 0, T}}, T, T, true, *d);
      attention_forward({.o = o,
                         .lse = lse,
                         .q = apart(1),
                         .k = apart(2),
                         .v = apart(3),
                         .segments = segments.rows,
                         .causal = true,
                         .scale = 0.1});
      results.push_back(o);
    }
    CHECK(same_bits(results[1], results[0]));
  }
}

TEST_CASE(
    "attention: more heads on a key head than a tile has rows, and one gradient that stands apart, go the same way") {
  SimDevice gpu;
  const AttentionCase c{"two tokens", {{0, 2, 0, 2}}, 2, 2, true};
  const auto of = [&](Device& d) {
    return attend_on(d, Dtype::bf16, c, 129, 1, 16, attention_forward, attention_backward);
  };
  check_same(of(gpu), of(ov::cpu()));
  std::vector<Tensor> results;
  for (Device* d : {&ov::cpu(), static_cast<Device*>(&gpu)}) {
    const auto drawn_heads = [&](unsigned seed) { return numbers(*d, Dtype::bf16, {5, 2, 16}, seed); };
    const Tensor q = drawn_heads(1), k = drawn_heads(2), v = drawn_heads(3), dq = Tensor::like(q), dk = Tensor::like(k);
    const Tensor dv = Tensor({5, 2, 19}, Dtype::bf16, *d).slice(2, 1, 17);
    const Segments segments({{0, 5, 0, 5}}, 5, 5, true, *d);
    attention_backward({.dq = dq,
                        .dk = dk,
                        .dv = dv,
                        .d_o = drawn_heads(4),
                        .q = q,
                        .k = k,
                        .v = v,
                        .o = drawn_heads(5),
                        .lse = numbers(*d, Dtype::f32, {5, 2}, 6),
                        .segments = segments.rows,
                        .causal = true,
                        .scale = 0.1});
    for (const Tensor& t : {dq, dk, dv}) results.push_back(t);
  }
  for (std::size_t i = 0; i < 3; ++i) CHECK(same_bits(results[3 + i], results[i]));
}

TEST_CASE("fenced: attention of a token over its cache, beside a prompt, reads its own spans alone") {
  CHECK(on_fenced([](Device& d) {
          const AttentionCase c{"both", {{0, 40, 0, 40}, {40, 1, 40, 1100}}, 41, 1140, true};
          attend_on(d, Dtype::bf16, c, 2, 1, 16, attention_forward, [](const auto&) {});
        }) == "");
}

TEST_CASE("cluster loss: a row that does not count loses nothing in the CUDA twin, whatever it holds") {
  SimDevice d;
  const Tensor loss({1}, Dtype::f32, d), of_row({2}, Dtype::f32, d), lse({2, 2}, Dtype::f32, d);
  cluster_loss_forward({.loss = loss,
                        .row_loss = of_row,
                        .lse = lse,
                        .logits = on(d, std::vector<float>{1, 2, NAN, INFINITY}, {2, 2}),
                        .roles = on(d, std::vector<std::uint8_t>{2, 1, 2, 1}, {2, 2}),
                        .weights = on(d, std::vector<float>{1, 0}, {2}),
                        .denominator = 1});
  const float expected = static_cast<float>(std::log1p(std::exp(-1.0)) + std::log1p(std::exp(2.0)));
  CHECK(std::abs(loss.to_vector<float>()[0] - expected) < 1e-5f);
  CHECK(of_row.to_vector<float>()[1] == 0);
  CHECK(lse.to_vector<float>()[2] == 0);
}

TEST_CASE("l2_normalize: a row of zeros stays one in the CUDA twin") {
  SimDevice d;
  const Tensor y({2, 3}, Dtype::f32, d), rnorm({2}, Dtype::f32, d);
  l2_normalize_forward({.y = y, .rnorm = rnorm, .x = on(d, std::vector<float>{0, 0, 0, 0, 2, 0}, {2, 3})});
  CHECK(y.to_vector<float>() == std::vector<float>{0, 0, 0, 0, 1, 0});
}
