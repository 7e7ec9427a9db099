#include "tests/tools/gpu_check_kernels.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "kernels/gpu/cuda_device.h"
#include "kernels/row_products.h"
#include "kernels/segments.h"
#include "kernels/table.h"

namespace ov::test {
namespace {

bool simulated = false;

gpu::CudaDevice& the_gpu() { return dynamic_cast<gpu::CudaDevice&>(gpu::device_named("cuda")); }

// The least of several times, after one that loads what is loaded late.
template <class F>
double milliseconds(F&& work) {
  gpu::CudaDevice& d = the_gpu();
  gpu::Runtime& r = d.runtime();
  const gpu::Event from = r.event_create(true), to = r.event_create(true);
  double best = INFINITY;
  for (int i = 0; i < (simulated ? 2 : 8); ++i) {
    const gpu::Stream s = d.enter();
    r.event_record(from, s);
    work();
    r.event_record(to, s);
    d.synchronize();
    if (i > 0) best = std::min(best, static_cast<double>(r.event_elapsed(from, to)));
  }
  r.event_destroy(from), r.event_destroy(to);
  return best;
}

// Numbers in (-1, 1): a GPU multiplies zeros faster than it does numbers.
Tensor numbers(const Shape& shape, Dtype dtype) {
  std::vector<float> v(static_cast<std::size_t>(shape.numel()));
  const Philox random(1, "gpu check");
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(random.below(i, 2001)) / 1000.f - 1;
  return Tensor::of(v, shape, the_gpu()).to(dtype);
}
Tensor blank(const Shape& shape, Dtype dtype = Dtype::bf16) { return Tensor(shape, dtype, the_gpu()); }

}  // namespace

std::vector<Line> time_kernels(bool small) {
  simulated = small;
  using namespace kernels;
  std::vector<Line> lines;
  const std::int64_t T = simulated ? 64 : 8192, C = simulated ? 64 : 4096, F = simulated ? 96 : 12288,
                     V = simulated ? 300 : 151936, H = simulated ? 2 : 32, K = simulated ? 1 : 8,
                     D = simulated ? 32 : 128;
  const auto memory = [&](const std::string& name, double bytes, auto&& work) {
    lines.push_back({name, milliseconds(work), bytes, false});
  };
  const auto product = [&](const std::string& name, double flops, auto&& work) {
    lines.push_back({name, milliseconds(work), flops, true});
  };
  const auto bytes = [](auto... n) { return 2.0 * static_cast<double>((n + ...)); };  // bf16

  {  // what the machine reaches: the peaks that the others are compared with
    const std::int64_t n = simulated ? 64 : 8192;
    const Tensor a = numbers({n, n}, Dtype::bf16), b = numbers({n, n}, Dtype::bf16), c = blank({n, n});
    product("product " + std::to_string(n) + " cubed", 2.0 * double(n) * double(n) * double(n),
            [&] { gemm({.c = c, .a = a, .b = b, .trans_b = true}); });
    memory("copy", bytes(2 * n * n), [&] { copy({.y = c, .x = a}); });
  }
  {
    const Tensor x = numbers({T, C}, Dtype::bf16), w = numbers({C}, Dtype::bf16), y = blank({T, C}), dx = blank({T, C}),
                 rstd = blank({T}, Dtype::f32), dw = Tensor::zeros({C}, Dtype::f32, the_gpu());
    memory("rmsnorm forward", bytes(2 * T * C),
           [&] { rmsnorm_forward({.y = y, .rstd = rstd, .x = x, .w = w, .eps = 1e-6}); });
    memory("rmsnorm backward", bytes(3 * T * C),
           [&] { rmsnorm_backward({.dx = dx, .dw = dw, .dy = y, .x = x, .w = w, .rstd = rstd}); });
    const Tensor up = numbers({2 * F, C}, Dtype::bf16), gate_up = blank({T, 2 * F});
    product("gate and up", 4.0 * double(T) * double(C) * double(F),
            [&] { gemm({.c = gate_up, .a = x, .b = up, .trans_b = true}); });
    const Tensor h = blank({T, F}), dgate = blank({T, F}), dup = blank({T, F});
    const Tensor gate = gate_up.slice(1, 0, F), other = gate_up.slice(1, F, 2 * F);
    memory("swiglu forward", bytes(3 * T * F), [&] { swiglu_forward({.y = h, .gate = gate, .up = other}); });
    memory("swiglu backward", bytes(5 * T * F),
           [&] { swiglu_backward({.dgate = dgate, .dup = dup, .dy = h, .gate = gate, .up = other}); });
  }
  {
    const std::int64_t N = T / 8;
    const Tensor z = numbers({N, V}, Dtype::bf16), dz = blank({N, V}), loss = blank({1}, Dtype::f32),
                 token = blank({N}, Dtype::f32), lse = blank({N, 2}, Dtype::f32),
                 weights = Tensor::of(std::vector<float>(std::size_t(N), 1), {N}, the_gpu()),
                 targets = Tensor::of(std::vector<std::int64_t>(std::size_t(N), 7), {N}, the_gpu()),
                 one = Tensor::of<float>({1}, {1}, the_gpu());
    memory("cross entropy forward", bytes(2 * N * V), [&] {
      cross_entropy_forward({.loss = loss,
                             .token_loss = token,
                             .lse = lse,
                             .logits = z,
                             .targets = targets,
                             .weights = weights,
                             .denominator = double(N)});
    });
    memory("cross entropy backward", bytes(2 * N * V), [&] {
      cross_entropy_backward({.dlogits = dz,
                              .dloss = one,
                              .logits = z,
                              .targets = targets,
                              .weights = weights,
                              .lse = lse,
                              .denominator = double(N)});
    });
  }
  for (const bool packed : {true, false}) {  // segments of 756 tokens, or one of four times the length
    const std::int64_t n = packed ? T : 4 * T, piece = packed ? std::min<std::int64_t>(T, 756) : n;
    SegmentTable table;
    for (std::int64_t at = 0; at < n; at += piece)
      table.push_back({at, std::min(piece, n - at), at, std::min(piece, n - at)});
    const Segments segments(table, n, n, true, the_gpu());
    const Tensor q = numbers({n, H, D}, Dtype::bf16), k = numbers({n, K, D}, Dtype::bf16),
                 v = numbers({n, K, D}, Dtype::bf16), o = blank({n, H, D}), lse = blank({n, H}, Dtype::f32),
                 dq = blank({n, H, D}), dk = blank({n, K, D}), dv = blank({n, K, D});
    const double flops = 4.0 * double(segments.pairs) * double(H * D), scale = 1 / std::sqrt(double(D));
    const std::string what = cat("attention, ", n, packed ? " tokens in segments, " : " tokens in one, ");
    product(what + "forward", flops, [&] {
      attention_forward(
          {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segments = segments.rows, .causal = true, .scale = scale});
    });
    product(what + "backward", 2.5 * flops, [&] {
      attention_backward({.dq = dq,
                          .dk = dk,
                          .dv = dv,
                          .d_o = o,
                          .q = q,
                          .k = k,
                          .v = v,
                          .o = o,
                          .lse = lse,
                          .segments = segments.rows,
                          .causal = true,
                          .scale = scale});
    });
  }
  for (const std::int64_t requests : {1, 16}) {  // a token each, over a cache of T
    SegmentTable table;
    for (std::int64_t r = 0; r < requests; ++r) table.push_back({r, 1, r * T, T});
    const Tensor rows = Segments(table, requests, requests * T, true, the_gpu()).rows;
    const Tensor q = numbers({requests, H, D}, Dtype::bf16), k = numbers({requests * T, K, D}, Dtype::bf16),
                 v = numbers({requests * T, K, D}, Dtype::bf16), o = blank({requests, H, D}),
                 lse = blank({requests, H}, Dtype::f32);
    memory(cat("attention of ", requests, requests == 1 ? " token" : " tokens", " over caches"),
           bytes(2 * requests * T * K * D), [&] {
             attention_forward({.o = o,
                                .lse = lse,
                                .q = q,
                                .k = k,
                                .v = v,
                                .segments = rows,
                                .causal = true,
                                .scale = 1 / std::sqrt(double(D))});
           });
  }
  {  // what a layer does between its products, and what follows the last of them
    const Tensor x = numbers({T, C}, Dtype::bf16), other = numbers({T, C}, Dtype::bf16), w = numbers({C}, Dtype::bf16),
                 h = blank({T, C}), y = blank({T, C}), rstd = blank({T}, Dtype::f32), dx = blank({T, C}, Dtype::f32);
    memory("add and rmsnorm forward", bytes(4 * T * C),
           [&] { add_rmsnorm_forward({.h = h, .y = y, .rstd = rstd, .a = x, .b = other, .w = w, .eps = 1e-6}); });
    memory("add and rmsnorm backward", bytes(5 * T * C),
           [&] { add_rmsnorm_backward({.dx = dx, .dh = other, .dy = y, .h = h, .w = w, .rstd = rstd}); });
    const Tensor q = numbers({T, H, D}, Dtype::bf16), turned = blank({T, H, D}), dq = blank({T, H, D}),
                 of_head = numbers({D}, Dtype::bf16), angles = numbers({T, D / 2}, Dtype::f32),
                 rows = blank({T, H}, Dtype::f32), dw = Tensor::zeros({D}, Dtype::f32, the_gpu());
    memory("norm and rope forward", bytes(2 * T * H * D), [&] {
      norm_rope_forward({.y = turned, .rstd = rows, .x = q, .w = of_head, .cos = angles, .sin = angles, .eps = 1e-6});
    });
    memory("norm and rope backward", bytes(5 * T * H * D), [&] {
      norm_rope_backward(
          {.dx = dq, .dw = dw, .dy = turned, .x = q, .w = of_head, .rstd = rows, .cos = angles, .sin = angles});
    });
    const Tensor wide = numbers({T, F}, Dtype::bf16), through = blank({T, F});
    memory("gelu forward", bytes(2 * T * F), [&] { gelu_forward({.y = through, .x = wide}); });
    const Tensor one = Tensor::of<double>({1}, {1}, the_gpu()), norm = Tensor::like(one);
    const std::int64_t P = T * C;
    const Tensor param = numbers({P}, Dtype::bf16), master = param.to(Dtype::f32), grad = numbers({P}, Dtype::f32),
                 m = Tensor::zeros({P}, Dtype::bf16, the_gpu()), v = Tensor::zeros({P}, Dtype::bf16, the_gpu()),
                 partial = blank({(P + norm_chunk - 1) / norm_chunk}, Dtype::f64);
    memory("gradient norm", bytes(2 * P), [&] {
      squared_sums({.partial = partial, .x = grad});
      clip_factor({.norm = norm, .clip = one, .partial = partial, .limit = 0});
    });
    memory("adamw, moments in bf16", bytes(11 * P), [&] {
      adamw({.param = param,
             .m = m,
             .v = v,
             .grad = grad,
             .clip = one,
             .lr = 1e-5,
             .beta1 = 0.9,
             .beta2 = 0.99,
             .eps = 1e-8,
             .step = 1,
             .master = master,
             .random = Philox(1, "gpu check")});
    });
  }
  for (const std::int64_t n : {1, 16, 64}) {  // a token each of n answers: the weights are read once
    const Tensor x = numbers({n, C}, Dtype::bf16), w = numbers({F, C}, Dtype::bf16), y = blank({n, F});
    memory(cat("product of ", n, n == 1 ? " token" : " tokens"), bytes(F * C), [&] {
      const RowProducts alone;
      gemm({.c = y, .a = x, .b = w, .trans_b = true});
    });
  }
  {  // Qwen3-30B-A3B's experts: 8 of 128 a token
    const std::int64_t E = simulated ? 4 : 128, k = simulated ? 2 : 8, width = simulated ? 32 : 768, R = T * k,
                       inner = simulated ? 64 : 2048;
    std::vector<std::int64_t> first;
    for (std::int64_t e = 0; e <= E; ++e) first.push_back(R * e / E);
    const Tensor x = numbers({R, inner}, Dtype::bf16), w = numbers({E * 2 * width, inner}, Dtype::bf16),
                 y = blank({R, 2 * width}), offsets = Tensor::of(first, {E + 1}, the_gpu());
    product("experts, grouped product", 4.0 * double(R) * double(width) * double(inner),
            [&] { grouped_gemm({.c = y, .a = x, .b = w, .offsets = offsets, .trans_b = true}); });
  }
  return lines;
}

}  // namespace ov::test
