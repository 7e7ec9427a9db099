// CUDA twins of kernels that no op of the registry calls, and what an op's example does not reach: the CPU's bits, in
// every thread order, on a device whose memory the host cannot touch.
#include <doctest/doctest.h>

#include <numeric>

#include "kernels/table.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_twins.h"
#include "tests/kernels/sim_schedules.h"

using namespace ov;
using namespace ov::kernels;
using namespace ov::test;

namespace {

using Made = std::vector<Tensor>;

// f(device) makes the same tensors on the GPU as on the CPU.
template <class F>
void same_everywhere(const std::string& what, F&& f) {
  const Made expected = f(ov::cpu());
  SimDevice gpu;
  sim::for_each_schedule([&] {
    const Made got = f(gpu);
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK_MESSAGE(same_bits(got[i], expected[i]), what, ": tensor ", i);
    gpu.synchronize();
  });
}

Tensor numbers(Device& device, Dtype dtype, const Shape& shape, unsigned seed) {
  return on(device, drawn(shape.numel(), seed), shape).to(dtype);
}

std::vector<std::int64_t> draws(std::int64_t n, std::int64_t below, std::uint64_t seed) {
  std::vector<std::int64_t> v;
  const Philox random(seed, "cuda kernels test");
  for (std::int64_t i = 0; i < n; ++i)
    v.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(i), std::uint64_t(below))));
  return v;
}

const Dtype types[] = {Dtype::f64, Dtype::f32, Dtype::bf16, Dtype::i64, Dtype::i32, Dtype::u8};
const Dtype floats[] = {Dtype::f32, Dtype::bf16};

}  // namespace

TEST_CASE("copy and fill: the CUDA twins take every pair of types, whole, by columns and by heads") {
  for (const Dtype from : types)
    for (const Dtype to : types)
      same_everywhere(cat(name_of(from), " to ", name_of(to)), [&](Device& d) {
        std::vector<float> values(3 * 4 * 13);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 100) + 0.75f;
        const Tensor x = on(d, values, {3, 4, 13}).to(from);
        const Tensor whole = x.to(to), heads = Tensor::zeros({3, 4, 13}, to, d),
                     columns = Tensor::zeros({12, 13}, to, d);
        copy({.y = heads.slice(1, 2, 4), .x = x.slice(1, 1, 3)});
        copy({.y = columns.slice(1, 3, 11), .x = x.view({12, 13}).slice(1, 5, 13)});
        fill({.y = columns.slice(1, 0, 2), .value = 7});
        // Heads that do not begin at packets, in rows that do.
        const auto inside = [](const Tensor& t) { return t.view({3, 4, 10}).slice(1, 0, 3).slice(2, 0, 8); };
        const Tensor between = Tensor::zeros({3, 40}, to, d);
        copy({.y = inside(between), .x = inside(x.view({156}).slice(0, 0, 120))});
        return Made{whole, heads, columns, between};
      });
  for (const std::int64_t n : edge_sizes)
    same_everywhere(cat(n, " elements"), [&](Device& d) {
      const Tensor x = numbers(d, Dtype::f32, {n}, 1), zero = Tensor::zeros({n}, Dtype::u8, d);
      return Made{x.to(Dtype::bf16), x.to(Dtype::bf16).to(Dtype::f32), x.contiguous_copy(), zero};
    });
}

TEST_CASE("sum_rows: the CUDA twin adds up to two levels of the tree in the CPU's order") {
  for (const Dtype dtype : floats)
    for (const auto& [N, C] : {std::pair<std::int64_t, std::int64_t>{1, 5}, {64, 33}, {65, 3}, {200, 129}, {4097, 2}})
      same_everywhere(cat(N, " rows"), [&, N = N, C = C](Device& d) {
        const Tensor sum = numbers(d, Dtype::f32, {C}, 1);
        sum_rows({.sum = sum, .x = numbers(d, dtype, {N, C}, 2)});
        return Made{sum};
      });
}

TEST_CASE("gelu: the CUDA twin's quick form gives the CPU's bits") {
  for (const Dtype dtype : floats)
    same_everywhere(name_of(dtype), [&](Device& d) {
      const Tensor x = numbers(d, dtype, {5, 37}, 1), y = Tensor::like(x), dx = Tensor::like(x);
      gelu_forward({.y = y, .x = x, .form = GeluForm::quick});
      gelu_backward({.dx = dx, .dy = numbers(d, dtype, {5, 37}, 2), .x = x, .form = GeluForm::quick});
      return Made{y, dx};
    });
}

TEST_CASE("rope: the CUDA twin rotates heads inside a fused product, by tables of far positions") {
  for (const Dtype dtype : floats)
    for (const std::int64_t D : {2, 16, 34})
      same_everywhere(cat("D = ", D), [&](Device& d) {
        const std::int64_t T = 5, H = 18;  // more heads than lanes
        const Tensor cos({T, D / 2}, Dtype::f32, d), sin = Tensor::like(cos), dcos = Tensor::like(cos),
                                                     dsin = Tensor::like(cos);
        rope_table_1d({.cos = cos,
                       .sin = sin,
                       .positions = on(d, std::vector<std::int64_t>{0, 1, 77, 131071, 40000000}, {T}),
                       .inv_freq = on(d, inverse_frequencies(D, 1e6), {D / 2})});
        const Tensor fused = numbers(d, dtype, {T, 2 * H, D}, 1), x = fused.slice(1, 3, 3 + H),
                     dy = numbers(d, dtype, {T, H, D}, 2), y = Tensor::like(dy), dx = Tensor::like(dy);
        rope_forward({.y = y, .x = x, .cos = cos, .sin = sin});
        rope_backward({.dx = dx, .dcos = dcos, .dsin = dsin, .dy = dy, .x = x, .cos = cos, .sin = sin});
        return Made{cos, sin, y, dx, dcos, dsin};
      });
}

TEST_CASE("rope: the CUDA twin adds the class tokens of many pictures, over several blocks of rows, in every order") {
  const std::int64_t T = 300, R = 6;
  std::vector<std::int64_t> places;  // a class token, -1 -1, before every 37 patches
  for (std::int64_t t = 0; t < T; ++t) places.insert(places.end(), {t % 38 ? t : -1, t % 38 ? t % 5 : -1});
  same_everywhere("class tokens", [&](Device& d) {
    const Tensor sum = numbers(d, Dtype::f32, {R}, 1);
    rope_table_2d_backward({.dclass_angles = sum,
                            .dcos = numbers(d, Dtype::f32, {T, R}, 2),
                            .dsin = numbers(d, Dtype::f32, {T, R}, 3),
                            .cos = numbers(d, Dtype::f32, {T, R}, 4),
                            .sin = numbers(d, Dtype::f32, {T, R}, 5),
                            .positions = on(d, places, {T, 2})});
    return Made{sum};
  });
}

TEST_CASE("adamw: the CUDA twins update any range, and their norm is the CPU's") {
  struct Case {
    std::int64_t n;
    Dtype moments = Dtype::f32;
    bool by_chance = false;
  };
  std::vector<Case> cases;
  for (const std::int64_t n : {1, 3, 4, 257, 4096, 4097, 12289}) cases.push_back({n});
  for (const std::int64_t n : {1, 4, 257, 1031})
    for (const bool by_chance : {false, true}) cases.push_back({n, Dtype::bf16, by_chance});
  for (const Dtype dtype : floats)
    for (const auto& [n, moments, by_chance] : cases)
      same_everywhere(cat(n, " parameters"), [&, n = n, moments = moments, by_chance = by_chance](Device& d) {
        const std::int64_t all = n + 3, from = n % 2;  // a range that starts on no packet, and one that does
        const auto part = [&](const Tensor& t) { return t.slice(0, from, from + n); };
        const Tensor master = numbers(d, Dtype::f32, {all}, 1), param = master.to(dtype);
        const Tensor m = numbers(d, moments, {all}, 2), grad = numbers(d, Dtype::f32, {all}, 3);
        const Tensor v = Tensor::zeros({all}, moments, d);
        const Tensor partial({(n + norm_chunk - 1) / norm_chunk}, Dtype::f64, d), of_params = Tensor::like(partial);
        const Tensor norm({1}, Dtype::f64, d), clip = Tensor::like(norm), unlimited = Tensor::like(norm);
        squared_sums({.partial = partial, .x = part(grad)});
        squared_sums({.partial = of_params, .x = part(param)});
        clip_factor({.norm = norm, .clip = unlimited, .partial = partial, .limit = 0});
        clip_factor({.norm = norm, .clip = clip, .partial = partial, .limit = 0.7});
        for (std::int64_t step = 1; step <= 2; ++step)
          adamw({.param = part(param),
                 .m = part(m),
                 .v = part(v),
                 .grad = part(grad),
                 .clip = step == 1 ? clip : unlimited,
                 .lr = 1e-2,
                 .beta1 = 0.9,
                 .beta2 = 0.999,
                 .eps = 1e-8,
                 .weight_decay = 0.1,
                 .step = step,
                 .master = dtype == Dtype::f32 ? Tensor() : part(master),
                 .ranges = {},
                 .random =
                     by_chance ? std::optional(Philox(5, "moments", static_cast<std::uint64_t>(step))) : std::nullopt,
                 .first = static_cast<std::uint64_t>(3 + from)});
        return Made{param, master, m, v, partial, of_params, norm, clip, unlimited};
      });
}

TEST_CASE("adamw: one call over ranges of their own rates equals one call a range, and leaves what lies between") {
  // Lengths around a packet and a block of 1024, at every alignment; more of them than one launch has room for.
  std::vector<AdamwRange> ranges;
  std::int64_t param = 1, begin = 0;
  for (int i = 0; i < 630; ++i) {
    const std::int64_t count = i == 3 ? 1024 : i == 7 ? 2051 : i % 6;
    ranges.push_back({param, begin, count, 1e-2 / (1 + i % 3), i % 2 ? 0.1 : 0});
    param += count + (i % 5 == 4), begin += count;
  }
  SimDevice gpu;
  for (const Dtype dtype : floats) {
    std::vector<Made> results;
    for (Device* device : {&ov::cpu(), static_cast<Device*>(&gpu)})
      for (const bool at_once : {true, false}) {
        const Tensor values = numbers(*device, dtype, {param + 2}, 1), w = numbers(*device, Dtype::f32, {begin}, 2);
        const Tensor m = numbers(*device, Dtype::f32, {begin}, 3), grad = numbers(*device, Dtype::f32, {begin}, 4);
        const Tensor v = Tensor::zeros({begin}, Dtype::f32, *device);
        const Tensor clip = on(*device, std::vector<double>{0.5}, {1});
        Adamw all{.param = values,
                  .m = m,
                  .v = v,
                  .grad = grad,
                  .clip = clip,
                  .beta1 = 0.9,
                  .beta2 = 0.999,
                  .eps = 1e-8,
                  .step = 3,
                  .master = dtype == Dtype::f32 ? Tensor() : w,
                  .ranges = ranges};
        const std::int64_t before = gpu.simulated().counts().launches;
        if (at_once) {
          adamw(all);
          if (device == &gpu) CHECK(gpu.simulated().counts().launches == before + 2);
        } else {
          for (const AdamwRange& r : ranges) {
            if (r.count == 0) continue;
            const auto part = [&](const Tensor& t, std::int64_t first) { return t.slice(0, first, first + r.count); };
            Adamw one = all;
            one.ranges.clear();
            one.param = part(values, r.param), one.m = part(m, r.begin), one.v = part(v, r.begin);
            one.grad = part(grad, r.begin), one.lr = r.lr, one.weight_decay = r.weight_decay;
            if (one.master) one.master = part(w, r.begin);
            adamw(one);
          }
        }
        results.push_back({values, m, v, w});
      }
    for (std::size_t i = 1; i < results.size(); ++i)
      for (std::size_t t = 0; t < results[i].size(); ++t) CHECK(same_bits(results[i][t], results[0][t]));
    CHECK_FALSE(same_bits(results[0][0], numbers(ov::cpu(), dtype, {param + 2}, 1)));
    for (const auto& [at, count] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {begin, 0}, {begin - 1, 2}}) {
      const Tensor x = numbers(ov::cpu(), Dtype::f32, {begin}, 1);
      const bool outside = at + count > begin;
      const Adamw a{.param = x,
                    .m = x,
                    .v = x,
                    .grad = x,
                    .clip = on(ov::cpu(), std::vector<double>{NAN}, {1}),
                    .beta1 = 0.9,
                    .beta2 = 0.9,
                    .eps = 1,
                    .step = 1,
                    .ranges = {{at, at, count, 1, 0}}};
      if (outside) CHECK_THROWS_WITH_AS(adamw(a), doctest::Contains("lies outside"), Error);
      else adamw(a);
    }
  }
}

TEST_CASE("adamw: the CUDA twin leaves everything as it was when the gradient is not finite") {
  SimDevice d;
  const Tensor grad = on(d, std::vector<float>{1, INFINITY}, {2}), param = on(d, std::vector<float>{1, 2}, {2});
  const Tensor m = Tensor::zeros({2}, Dtype::f32, d), v = Tensor::zeros({2}, Dtype::f32, d);
  const Tensor partial({1}, Dtype::f64, d), norm = Tensor::like(partial), clip = Tensor::like(partial);
  squared_sums({.partial = partial, .x = grad});
  clip_factor({.norm = norm, .clip = clip, .partial = partial, .limit = 1});
  adamw({.param = param,
         .m = m,
         .v = v,
         .grad = grad,
         .clip = clip,
         .lr = 1,
         .beta1 = 0.9,
         .beta2 = 0.99,
         .eps = 1e-8,
         .weight_decay = 0,
         .step = 1});
  CHECK(std::isnan(clip.to_vector<double>()[0]));
  CHECK(param.to_vector<float>() == std::vector<float>{1, 2});
  CHECK(m.to_vector<float>() == std::vector<float>{0, 0});
}

TEST_CASE("experts: the CUDA twins sort slots stably, count them and combine without weights (G-21)") {
  struct Case {
    std::int64_t T, k, E;
  };
  for (const auto& [T, k, E] : {Case{0, 2, 3}, {1, 1, 1}, {7, 2, 3}, {300, 8, 128}, {1024, 1, 5}, {1025, 1, 200}})
    same_everywhere(cat(T, " tokens"), [&, T = T, k = k, E = E](Device& d) {
      const Tensor experts = on(d, draws(T * k, E, 5), {T, k}), tokens({T * k}, Dtype::i64, d);
      const Tensor slots = Tensor::like(experts), offsets({E + 1}, Dtype::i64, d);
      const Tensor counts = on(d, draws(E, 100, 6), {E});
      expert_order({.tokens = tokens, .slots = slots, .offsets = offsets, .experts = experts});
      expert_counts({.counts = counts, .offsets = offsets});
      const Tensor x = numbers(d, Dtype::bf16, {T * k, 3}, 7), y({T, 3}, Dtype::bf16, d);
      combine_forward({.y = y, .x = x, .weights = {}, .slots = slots});
      return Made{tokens, slots, offsets, counts, y};
    });
}

TEST_CASE("router: the CUDA twin chooses as the CPU does among equal logits, NaN and forced experts (G-57)") {
  const auto chosen = [](Device& d, std::vector<float> z, std::int64_t T, std::int64_t k, bool forced) {
    const auto E = static_cast<std::int64_t>(z.size()) / T;
    const Tensor logits = on(d, z, {T, E}), p = Tensor::like(logits), w({T, k}, Dtype::f32, d);
    const Tensor experts({T, k}, Dtype::i64, d);
    router_forward({.probabilities = p,
                    .weights = w,
                    .experts = experts,
                    .logits = logits,
                    .normalise = true,
                    .forced = forced ? on(d, draws(T * k, E, 3), {T, k}) : Tensor()});
    return std::pair(experts, Made{experts, p, w});
  };
  same_everywhere("equal", [&](Device& d) { return chosen(d, std::vector<float>(3 * 40, 1.f), 3, 8, false).second; });
  same_everywhere("some equal", [&](Device& d) {
    std::vector<float> z;
    for (const std::int64_t i : draws(5 * 130, 20, 9)) z.push_back(static_cast<float>(i));
    return chosen(d, z, 5, 17, false).second;
  });
  same_everywhere("forced", [&](Device& d) { return chosen(d, drawn(6 * 33, 4), 6, 3, true).second; });
  same_everywhere("NaN", [&](Device& d) {
    std::vector<float> z = drawn(9 * 33, 4);
    for (const std::int64_t i : draws(30, 9 * 33, 8)) z[static_cast<std::size_t>(i)] = NAN;
    std::fill_n(z.begin(), 33, NAN);
    return Made{chosen(d, z, 9, 4, false).first};
  });
}

TEST_CASE("cluster_hits: the CUDA twin ranks ties as the CPU does") {
  for (const Dtype dtype : floats)
    for (const std::int64_t S : {1, 5, 127, 129, 300})
      same_everywhere(cat(S, " classes"), [&](Device& d) {
        std::vector<float> cos;
        std::vector<std::uint8_t> roles;
        for (const std::int64_t i : draws(4 * S, 7, 1)) cos.push_back(static_cast<float>(i) / 8);
        for (const std::int64_t i : draws(4 * S, 4, 2)) roles.push_back(static_cast<std::uint8_t>(i));
        const Tensor hits = on(d, std::vector<double>{3}, {1});
        cluster_hits({.hits = hits,
                      .cos = on(d, cos, {4, S}).to(dtype),
                      .roles = on(d, roles, {4, S}),
                      .k = on(d, std::vector<std::int64_t>{1, 2, 10, 100}, {4})});
        return Made{hits};
      });
}

TEST_CASE("cluster_above: the CUDA twin counts ties as the CPU does") {
  for (const Dtype dtype : floats)
    for (const std::int64_t S : {1, 127, 129, 300})
      same_everywhere(cat(S, " classes"), [&](Device& d) {
        std::vector<float> cos;
        std::vector<std::uint8_t> roles;
        for (const std::int64_t i : draws(3 * S, 7, 1)) cos.push_back(static_cast<float>(i) / 8);
        for (const std::int64_t i : draws(3 * S, 4, 2)) roles.push_back(static_cast<std::uint8_t>(i));
        const Tensor above = on(d, std::vector<std::int64_t>{5, 0, 1, 0, 0}, {5});
        cluster_above({.above = above,
                       .cos = on(d, cos, {3, S}).to(dtype),
                       .roles = on(d, roles, {3, S}),
                       .value = on(d, std::vector<float>{0.25f, 0.5f, 0.5f, 0.5f, -1}, {5}).to(dtype),
                       .row = on(d, std::vector<std::int64_t>{0, 2, 1, 1, 1}, {5}),
                       .column = on(d, std::vector<std::int64_t>{S / 2, 0, 0, S, 0}, {5})});
        return Made{above};
      });
}

TEST_CASE("every CUDA twin takes tensors without rows (G-21)") {
  SimDevice d;
  const auto none = [&](std::initializer_list<std::int64_t> shape, Dtype t = Dtype::f32) {
    return Tensor(Shape(shape), t, d);
  };
  const Tensor x = none({0, 8}), row = numbers(d, Dtype::f32, {8}, 1), w = numbers(d, Dtype::f32, {8}, 2);
  const Tensor stats = none({0}), ids = none({0}, Dtype::i64), one = Tensor::zeros({1}, Dtype::f32, d);
  layernorm_forward({.y = x, .mean = stats, .rstd = stats, .x = x, .w = w, .b = w, .eps = 1e-6});
  layernorm_backward({.dx = x, .dw = row, .db = row, .dy = x, .x = x, .w = w, .mean = stats, .rstd = stats});
  rmsnorm_forward({.y = x, .rstd = stats, .x = x, .w = w, .eps = 1e-6});
  gelu_forward({.y = x, .x = x});
  swiglu_backward({.dgate = x, .dup = x, .dy = x, .gate = x, .up = x});
  l2_normalize_forward({.y = x, .rnorm = stats, .x = x});
  add({.y = x, .a = x, .b = x});
  sum_rows({.sum = row, .x = x});
  embedding_forward({.y = x, .ids = ids, .table = numbers(d, Dtype::f32, {3, 8}, 1)});
  embedding_backward({.dtable = numbers(d, Dtype::f32, {3, 8}, 1), .dy = x, .ids = ids});
  take_rows_backward({.dx = x, .dy = x, .index = ids});
  splice_backward({.dtext = x, .dfeatures = x, .dy = x, .source = ids});
  insert_class_tokens_backward({.dx = x, .dclass_vector = row, .dy = x, .first_row = ids});
  cross_entropy_forward({.loss = one,
                         .token_loss = stats,
                         .lse = none({0, 2}),
                         .logits = x,
                         .targets = ids,
                         .weights = stats,
                         .denominator = 1});
  rope_backward({.dx = none({0, 2, 8}),
                 .dcos = none({0, 4}),
                 .dsin = none({0, 4}),
                 .dy = none({0, 2, 8}),
                 .x = none({0, 2, 8}),
                 .cos = none({0, 4}),
                 .sin = none({0, 4})});
  router_backward({.dlogits = x,
                   .dprobabilities = {},
                   .dweights = none({0, 2}),
                   .probabilities = x,
                   .experts = none({0, 2}, Dtype::i64),
                   .normalise = true});
  fill({.y = x, .value = 1});
  d.synchronize();
  CHECK(row.to_vector<float>() == drawn(8, 1));
  CHECK(one.to_vector<float>() == std::vector<float>{0});
}
