// Where bf16 kernels round, and where they must not. How near they are: edge_sizes_test.cpp.
#include <doctest/doctest.h>

#include <cmath>

#include "base/rng.h"
#include "kernels/attention.h"
#include "kernels/layernorm.h"
#include "kernels/rmsnorm.h"

using namespace ov;
using kernels::Segments;
using kernels::SegmentTable;

TEST_CASE("attention: bf16 probabilities are rounded where they enter the second product, forward and backward") {
  // Two keys with scores 0 and -1: p_0 : p_1 = 1 : 1/e. With v = bf16(1/e), -1 the output is 0 only if 1/e is rounded.
  const float p = std::exp(-1.0f), near = float(Bf16(p));
  CHECK(near != p);
  const auto one_head = [](const std::vector<float>& x) {
    return Tensor::of(x, {static_cast<std::int64_t>(x.size()), 1, 1}).to(Dtype::bf16);
  };
  const SegmentTable table = {{0, 1, 0, 2}};
  const auto output = [&](const Tensor& v) {
    const Tensor q = one_head({1}), o = Tensor::like(q), lse({1, 1}, Dtype::f32, cpu());
    kernels::attention_forward({.o = o,
                                .lse = lse,
                                .q = q,
                                .k = one_head({0, -1}),
                                .v = v,
                                .segments = Segments(table, 1, 2, false, cpu()).rows,
                                .causal = false,
                                .scale = 1});
    return float(o.data<Bf16>()[0]);
  };
  CHECK(output(one_head({near, -1})) == 0);
  CHECK(output(one_head({float(Bf16(near * 1.01f)), -1})) != 0);

  // One key and two queries that see it with p and r beside an other key: dv = p' do_0 + r' do_1 is 0 for do = r', -p'.
  const Tensor q = one_head({1, 2}), k = one_head({0, -1}), v = one_head({0, 0}), o = one_head({0, 0});
  const float l0 = std::log1p(std::exp(-1.0f)), l1 = std::log1p(std::exp(-2.0f));
  const float p1 = float(Bf16(std::exp(-1 - l0))), r1 = float(Bf16(std::exp(-2 - l1)));
  const Tensor d_o = one_head({r1, -p1}), dq = Tensor::like(q), dk = Tensor::like(k), dv = Tensor::like(v);
  kernels::attention_backward({.dq = dq,
                               .dk = dk,
                               .dv = dv,
                               .d_o = d_o,
                               .q = q,
                               .k = k,
                               .v = v,
                               .o = o,
                               .lse = Tensor::of<float>({l0, l1}, {2, 1}),
                               .segments = Segments({{0, 2, 0, 2}}, 2, 2, false, cpu()).rows,
                               .causal = false,
                               .scale = 1});
  CHECK(float(dv.data<Bf16>()[1]) == 0);
  CHECK(float(dv.data<Bf16>()[0]) != 0);
}

TEST_CASE("norms: bf16 rows are computed in f32 and rounded once; statistics in bf16 would give other numbers") {
  const std::int64_t N = 5, C = 70;
  const Philox random(1, "bf16 norms");
  const Tensor x({N, C}, Dtype::bf16, cpu()), w({C}, Dtype::bf16, cpu()), b({C}, Dtype::bf16, cpu());
  for (std::int64_t i = 0; i < N * C; ++i) x.data<Bf16>()[i] = Bf16(random.normal(static_cast<std::uint64_t>(i)));
  for (std::int64_t i = 0; i < C; ++i)
    w.data<Bf16>()[i] = Bf16(1.5f), b.data<Bf16>()[i] = Bf16(random.normal(static_cast<std::uint64_t>(i + N * C)));
  const auto norms = [&](Dtype dtype) {
    const Tensor rms({N, C}, dtype, cpu()), layer = Tensor::like(rms), mean({N}, Dtype::f32, cpu()),
                                            rstd = Tensor::like(mean);
    kernels::rmsnorm_forward({.y = rms, .rstd = rstd, .x = x.to(dtype), .w = w.to(dtype), .eps = 1e-6});
    kernels::layernorm_forward({.y = layer,
                                .mean = mean,
                                .rstd = Tensor::like(mean),
                                .x = x.to(dtype),
                                .w = w.to(dtype),
                                .b = b.to(dtype),
                                .eps = 1e-6});
    return std::vector<std::vector<float>>{rms.to(Dtype::bf16).to(Dtype::f32).to_vector<float>(),
                                           layer.to(Dtype::bf16).to(Dtype::f32).to_vector<float>(),
                                           rstd.to_vector<float>()};
  };
  const auto narrow = norms(Dtype::bf16), wide = norms(Dtype::f32);
  CHECK(narrow == wide);
  std::int64_t differ = 0;  // the twin: 1/rms rounded to bf16
  for (std::int64_t i = 0; i < N * C; ++i) {
    const float r = float(Bf16(wide[2][static_cast<std::size_t>(i / C)]));
    differ += float(Bf16(1.5f * (float(x.data<Bf16>()[i]) * r))) != narrow[0][static_cast<std::size_t>(i)];
  }
  CHECK(differ > 0);
}
