// Calls of every kernel that goes along rows, on arrays that lie in any way.
#pragma once
#include "kernels/adamw.h"
#include "kernels/table.h"
#include "tests/kernels/cuda_twins.h"

namespace ov::test {

using namespace kernels;

// How an array lies: row by row from an address that a packet may have; one number behind it; with gaps of whole
// packets between its rows; with gaps of one number.
enum class Lay { aligned, shifted, whole_gaps, odd_gaps };
inline constexpr Lay lays[] = {Lay::aligned, Lay::shifted, Lay::whole_gaps, Lay::odd_gaps};

// The arrays of one call. Number `which` of them (-1: each) lies as `lay` says, the others are aligned.
struct Arrays {
  Device& device;
  Dtype dtype;
  Lay lay;
  int which = -1;
  int made = 0;
  std::vector<Tensor> results = {};

  Tensor array(const Shape& shape, Dtype type, const std::vector<float>& values) {
    const Lay mine = which < 0 || which == made ? lay : Lay::aligned;
    ++made;
    const std::int64_t n = shape.numel(), C = shape[shape.rank() - 1];
    Tensor t;
    if (mine == Lay::shifted) t = Tensor::zeros({n + 1}, type, device).slice(0, 1, n + 1).view(shape);
    else {
      const std::int64_t gap = mine == Lay::whole_gaps ? 16 : mine == Lay::odd_gaps ? 1 : 0;
      t = Tensor::zeros({n / C, C + gap}, type, device).slice(1, 0, C);
      if (shape.rank() == 3) t = Tensor::zeros({shape[0], shape[1], C + gap}, type, device).slice(2, 0, C);
      if (shape.rank() == 1) t = t.view({C});
    }
    t.copy_from(Tensor::of(values, shape).to(type));
    return t;
  }
  Tensor in(const Shape& shape, unsigned seed) { return array(shape, dtype, drawn(shape.numel(), seed)); }
  Tensor in_f32(const Shape& shape, unsigned seed) { return array(shape, Dtype::f32, drawn(shape.numel(), seed)); }
  Tensor roles(const Shape& shape) {  // 0, 1, 2, 3 in turns
    std::vector<float> values(static_cast<std::size_t>(shape.numel()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7 % 11 % 4);
    return array(shape, Dtype::u8, values);
  }
  Tensor out(const Shape& shape) { return results.emplace_back(in(shape, 99)); }
  Tensor out_f32(const Shape& shape) { return results.emplace_back(in_f32(shape, 98)); }
  // What no packet is read from.
  Tensor f32(const Shape& shape, unsigned seed) { return on(device, drawn(shape.numel(), seed), shape); }
  Tensor made_f32(const Shape& shape) { return results.emplace_back(f32(shape, 97)); }
  Tensor integers(const std::vector<std::int64_t>& values) {
    return on(device, values, {static_cast<std::int64_t>(values.size())});
  }
};

struct Call {
  const char* name;
  void (*run)(Arrays&, std::int64_t C);
  int rows_of = 1;  // 2: a packet lies in one half of a row
};

// N rows of C numbers, unless said otherwise.
inline constexpr std::int64_t N = 3;
inline const Call row_calls[] = {
    {"rmsnorm forward",
     [](Arrays& a, std::int64_t C) {
       rmsnorm_forward(
           {.y = a.out({N, C}), .rstd = a.made_f32({N}), .x = a.in({N, C}, 1), .w = a.in({C}, 2), .eps = 1e-6});
     }},
    {"rmsnorm backward, dx",
     [](Arrays& a, std::int64_t C) {
       rmsnorm_backward({.dx = a.out({N, C}),
                         .dw = {},
                         .dy = a.in({N, C}, 1),
                         .x = a.in({N, C}, 2),
                         .w = a.in({C}, 3),
                         .rstd = a.f32({N}, 4)});
     }},
    {"rmsnorm backward, dw",
     [](Arrays& a, std::int64_t C) {
       rmsnorm_backward({.dx = {},
                         .dw = a.made_f32({C}),
                         .dy = a.in({N, C}, 1),
                         .x = a.in({N, C}, 2),
                         .w = a.in({C}, 3),
                         .rstd = a.f32({N}, 4)});
     }},
    {"layernorm forward",
     [](Arrays& a, std::int64_t C) {
       layernorm_forward({.y = a.out({N, C}),
                          .mean = a.made_f32({N}),
                          .rstd = a.made_f32({N}),
                          .x = a.in({N, C}, 1),
                          .w = a.in({C}, 2),
                          .b = a.in({C}, 3),
                          .eps = 1e-6});
     }},
    {"layernorm backward",
     [](Arrays& a, std::int64_t C) {
       layernorm_backward({.dx = a.out({N, C}),
                           .dw = a.made_f32({C}),
                           .db = a.made_f32({C}),
                           .dy = a.in({N, C}, 1),
                           .x = a.in({N, C}, 2),
                           .w = a.in({C}, 3),
                           .mean = a.f32({N}, 4),
                           .rstd = a.f32({N}, 5)});
     }},
    {"residual sum and norm, forward",
     [](Arrays& a, std::int64_t C) {
       add_rmsnorm_forward({.h = a.out({N, C}),
                            .y = a.out({N, C}),
                            .rstd = a.made_f32({N}),
                            .a = a.in({N, C}, 1),
                            .b = a.in({N, C}, 2),
                            .w = a.in({C}, 3),
                            .eps = 1e-6});
     }},
    {"residual sum and norm, in place",
     [](Arrays& a, std::int64_t C) {
       const Tensor h = a.out({N, C});
       add_rmsnorm_forward({.h = h,
                            .y = a.out({N, C}),
                            .rstd = a.made_f32({N}),
                            .a = h,
                            .b = a.in({N, C}, 2),
                            .w = a.in({C}, 3),
                            .eps = 1e-6});
     }},
    {"residual sum and norm, backward",
     [](Arrays& a, std::int64_t C) {
       for (const bool wide : {false, true})
         add_rmsnorm_backward({.dx = a.out_f32({N, C}),
                               .dh = wide ? a.in_f32({N, C}, 1) : a.in({N, C}, 1),
                               .dy = a.in({N, C}, 2),
                               .h = a.in({N, C}, 3),
                               .w = a.in({C}, 4),
                               .rstd = a.f32({N}, 5)});
     }},
    {"head norm and rotation, forward",
     [](Arrays& a, std::int64_t C) {
       norm_rope_forward({.y = a.out({N, 7, C}),
                          .rstd = a.made_f32({N, 7}),
                          .x = a.in({N, 7, C}, 1),
                          .w = a.in({C}, 2),
                          .cos = a.in_f32({N, C / 2}, 3),
                          .sin = a.in_f32({N, C / 2}, 4),
                          .eps = 1e-6});
     },
     2},
    {"head norm and rotation, backward",
     [](Arrays& a, std::int64_t C) {
       norm_rope_backward({.dx = a.out({N, 7, C}),
                           .dw = a.made_f32({C}),
                           .dy = a.in({N, 7, C}, 1),
                           .x = a.in({N, 7, C}, 2),
                           .w = a.in({C}, 3),
                           .rstd = a.f32({N, 7}, 4),
                           .cos = a.in_f32({N, C / 2}, 5),
                           .sin = a.in_f32({N, C / 2}, 6)});
     },
     2},
    {"cross entropy, forward",
     [](Arrays& a, std::int64_t C) {
       cross_entropy_forward({.loss = a.made_f32({1}),
                              .token_loss = a.made_f32({N}),
                              .lse = a.made_f32({N, 2}),
                              .logits = a.in({N, C}, 1),
                              .targets = a.integers({0, C - 1, C / 2}),
                              .weights = a.f32({N}, 2),
                              .denominator = 1.5});
     }},
    {"cross entropy, backward",
     [](Arrays& a, std::int64_t C) {
       cross_entropy_backward({.dlogits = a.out({N, C}),
                               .dloss = a.f32({1}, 1),
                               .logits = a.in({N, C}, 2),
                               .targets = a.integers({0, C - 1, C / 2}),
                               .weights = a.f32({N}, 3),
                               .lse = a.f32({N, 2}, 4),
                               .denominator = 1.5});
     }},
    {"cluster loss",
     [](Arrays& a, std::int64_t C) {
       cluster_loss_forward({.loss = a.made_f32({1}),
                             .row_loss = a.made_f32({N}),
                             .lse = a.made_f32({N, 2}),
                             .logits = a.in({N, C}, 1),
                             .roles = a.roles({N, C}),
                             .weights = a.f32({N}, 2),
                             .denominator = 1.5});
     }},
    {"cluster hits",
     [](Arrays& a, std::int64_t C) {
       const Tensor hits = a.results.emplace_back(on(a.device, std::vector<double>{0}, {1}));
       cluster_hits({.hits = hits, .cos = a.in({N, C}, 1), .roles = a.roles({N, C}), .k = a.integers({1, C / 4, C})});
     }},
    {"classes above",
     [](Arrays& a, std::int64_t C) {
       const Tensor above = a.results.emplace_back(a.integers({0, 1}));
       cluster_above({.above = above,
                      .cos = a.in({N, C}, 1),
                      .roles = a.roles({N, C}),
                      .value = on(a.device, std::vector<float>{0.25f, 1}, {2}).to(a.dtype),
                      .row = a.integers({1, 2}),
                      .column = a.integers({C / 2, C - 1})});
     }},
    {"directions, forward",
     [](Arrays& a, std::int64_t C) {
       l2_normalize_forward({.y = a.out({N, C}), .rnorm = a.made_f32({N}), .x = a.in({N, C}, 1)});
     }},
    {"directions, backward",
     [](Arrays& a, std::int64_t C) {
       l2_normalize_backward(
           {.dx = a.out({N, C}), .dy = a.in({N, C}, 1), .y = a.in({N, C}, 2), .rnorm = a.f32({N}, 3)});
     }},
    {"temperature",
     [](Arrays& a, std::int64_t C) {
       const Tensor s = on(a.device, std::vector<float>{0.5f}, {}).to(a.dtype);
       exp_scale_backward({.dx = {}, .ds = a.made_f32({}), .dy = a.in({N, C}, 1), .x = a.in({N, C}, 2), .s = s});
     }},
    {"gradient of an embedding",
     [](Arrays& a, std::int64_t C) {
       embedding_backward({.dtable = a.out_f32({N, C}), .dy = a.in({6, C}, 1), .ids = a.integers({1, 0, 1, 1, 1, 1})});
     }},
    {"gradient of experts",
     [](Arrays& a, std::int64_t C) {
       combine_backward({.dx = a.out({4, C}),
                         .dweights = a.made_f32({2, 2}),
                         .dy = a.in({2, C}, 1),
                         .x = a.in({4, C}, 2),
                         .weights = a.f32({2, 2}, 3),
                         .slots = on(a.device, std::vector<std::int64_t>{2, 0, 1, 3}, {2, 2})});
     }},
    {"sum of rows",
     [](Arrays& a, std::int64_t C) {
       sum_rows({.sum = a.made_f32({C}), .x = a.in({131, C}, 1)});
     }},
};

}  // namespace ov::test
