#include "kernels/gpu/scratch.h"

#include <algorithm>

#include "kernels/row_products.h"
#include "kernels/table.h"

namespace ov::kernels {
namespace {

Tensor taken(const Shape& shape, Dtype dtype, const Tensor& beside) {
  return Tensor(shape, dtype, beside.device(), Segment::workspace);
}
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
bool at_16_bytes(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.device_bytes()) % 16 == 0; }

// What is added to `to`, if anything is.
SumScratch sum_of_rows(std::int64_t N, std::int64_t C, const Tensor& to) {
  SumScratch s{.N = N, .C = C};
  if (!to || N == 0 || C == 0) return s;
  std::int64_t level = ceil_div(N, rows_in_block), rows = level;
  while ((level = ceil_div(level, rows_in_tree)) > 1) rows += level;
  s.partial = taken({rows, C}, Dtype::f32, to);
  return s;
}

PieceList list_of(const Tensor& segments, std::int64_t rows, int size) {
  const std::int64_t S = segments.dim(0), count = rows / size + S;
  return {.size = size,
          .count = static_cast<int>(count),
          .S = static_cast<int>(S),
          .memory = taken({std::max<std::int64_t>(1, 2 * count + S)}, Dtype::i32, segments)};
}

// Rows of a multiple of 16 bytes at multiples of 16 bytes. A scale of 0 or less would turn the maximum around.
bool fit(const Tensor& q, const Tensor& k, double scale, std::initializer_list<Tensor> all) {
  const std::int64_t D = q.dim(2);
  const auto fits = [](const Tensor& t) { return at_16_bytes(t) && t.stride(0) % 8 == 0 && t.stride(1) % 8 == 0; };
  return q.dtype() == Dtype::bf16 && (D == 16 || D == 32 || D == 64 || D == 128) && scale > 0 &&
         q.dim(1) / k.dim(1) <= attention_tile && std::all_of(all.begin(), all.end(), fits);
}

}  // namespace

SumScratch scratch_of(const SumRows& a) {
  const auto [N, C] = a.x.dims<2>();
  return sum_of_rows(N, C, a.sum);
}
SumScratch scratch_of(const LayernormBackward& a) {
  const auto [N, C] = a.x.dims<2>();
  return sum_of_rows(N, C, a.dw ? a.dw : a.db);
}
SumScratch scratch_of(const RmsnormBackward& a) {
  const auto [N, C] = a.x.dims<2>();
  return sum_of_rows(N, C, a.dw);
}
SumScratch scratch_of(const NormRopeBackward& a) {
  const auto [T, H, D] = a.x.dims<3>();
  return sum_of_rows(T * H, D, a.dw);
}
BalanceScratch scratch_of(const LoadBalanceForward& a) {
  const auto [N, E] = a.probabilities.dims<2>();
  const Tensor total = taken({E}, Dtype::f32, a.loss);
  return {total, sum_of_rows(N, E, total)};
}

bool fits_tensor_cores(const AttentionForward& a) { return fit(a.q, a.k, a.scale, {a.q, a.k, a.v, a.o}); }
bool fits_tensor_cores(const AttentionBackward& a) {
  return fit(a.q, a.k, a.scale, {a.q, a.k, a.v, a.o, a.d_o, a.dq, a.dk, a.dv});
}

AttentionForwardScratch scratch_of(const AttentionForward& a) { return scratch_of(a, fits_tensor_cores(a)); }
AttentionForwardScratch scratch_of(const AttentionForward& a, bool tensor_cores) {
  const std::int64_t T = a.q.dim(0), keys = a.k.dim(0), K = a.k.dim(1), D = a.q.dim(2), group = a.q.dim(1) / K;
  AttentionForwardScratch s{.tensor_cores = tensor_cores};
  if (T == 0) return s;
  s.queries = list_of(a.segments, T, tensor_cores ? attention_tile / static_cast<int>(group) : plain_attention_tile);
  // With more keys than queries somebody reads a cache. Which kernel a row then goes to is a matter of time, not of
  // bits.
  const bool cache = a.causal && keys > span_keys && T < keys && group <= span_rows;
  if (!tensor_cores || !cache || s.queries.S == 0) return s;
  s.spans = list_of(a.segments, keys, span_keys);
  s.partials = taken({s.spans.count * K * span_rows * (D + 2)}, Dtype::f32, a.q);
  return s;
}

AttentionBackwardScratch scratch_of(const AttentionBackward& a) { return scratch_of(a, fits_tensor_cores(a)); }
AttentionBackwardScratch scratch_of(const AttentionBackward& a, bool tensor_cores) {
  const std::int64_t T = a.q.dim(0), keys = a.k.dim(0), H = a.q.dim(1), group = H / a.k.dim(1);
  AttentionBackwardScratch s{.tensor_cores = tensor_cores};
  if (T == 0 || keys == 0 || a.segments.dim(0) == 0) return s;
  s.delta = taken({T, H}, Dtype::f32, a.o);
  s.queries = list_of(a.segments, T, tensor_cores ? attention_tile / static_cast<int>(group) : plain_attention_tile);
  s.keys = list_of(a.segments, keys, tensor_cores ? attention_tile : plain_attention_tile);
  return s;
}

Tensor scratch_of(const RegionAttentionBackward& a) {
  return taken({std::max<std::int64_t>(1, a.rows.numel()), a.q.dim(1), 2}, Dtype::f32, a.q);
}

Product product_of(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  if (M == 0 || N == 0) return Product::none;
  if (g.a.dims<2>()[g.trans_a ? 0 : 1] == 0) return Product::without_terms;
  if (g.trans_b && !g.trans_a && !g.accumulate) {
    if (RowProducts::wanted()) return Product::of_chunk;
    if (M <= few_rows) return Product::of_rows;
  }
  return Product::library;
}
Tensor scratch_of(const Gemm& g) {
  if (!g.bias || product_of(g) != Product::library) return {};
  return at_16_bytes(g.bias) && g.bias.dtype() == g.c.dtype() ? Tensor() : taken({g.c.dim(-1)}, g.c.dtype(), g.c);
}

GroupedScratch scratch_of(const GroupedGemm& g) {
  GroupedScratch s{.E = g.offsets.numel() - 1,
                   .F = (g.trans_b ? g.c : g.a).dim(1),
                   .C = (g.trans_b   ? g.a
                         : g.trans_a ? g.b
                                     : g.c)
                            .dim(1)};
  const std::int64_t R = g.a.dim(0);
  if (s.E == 0 || s.F == 0 || s.C == 0 || (R == 0 && (!g.trans_a || g.accumulate))) return s;
  const auto in_packets = [](const Tensor& t) { return at_16_bytes(t) && t.stride(0) % 8 == 0; };
  s.tensor_cores = g.a.dtype() == Dtype::bf16 && s.F % 8 == 0 && s.C % 8 == 0 && in_packets(g.a) && in_packets(g.b);
  s.size = s.tensor_cores ? grouped_tile : plain_grouped_tile;
  s.count = static_cast<int>(R / s.size + s.E);
  s.tiles = taken({s.count, 2}, Dtype::i32, g.a);
  return s;
}

Tensor scratch_of(const ExpertOrder& a) {
  const std::int64_t chunks = ceil_div(a.tokens.numel(), slots_in_chunk);
  return taken({std::max<std::int64_t>(1, chunks * (a.offsets.numel() - 1))}, Dtype::i64, a.tokens);
}
Tensor scratch_of(const EmbeddingBackward& a) {
  const auto [T, C] = a.dy.dims<2>();
  return T == 0 || C == 0 ? Tensor() : taken({T}, Dtype::i64, a.dy);
}
Tensor scratch_of(const ClusterHits& a) {
  return a.cos.dim(0) == 0 ? Tensor() : taken({a.cos.dim(0)}, Dtype::i64, a.cos);
}
Tensor scratch_of(const ExpScaleBackward& a) {
  const std::int64_t N = a.dy.dims<2>()[0];
  return !a.ds || N == 0 ? Tensor() : taken({N}, Dtype::f32, a.dy);
}

NearestScratch scratch_of(const Nearest& a) {
  const std::int64_t N = a.a.dims<2>()[0], M = a.b.dims<2>()[0], k = a.ids.dims<2>()[1];
  NearestScratch s{.kept = std::min(k + nearest_spare, M)};
  if (s.kept > nearest_most)
    input_error("nearest: ", k, " of ", M, " rows are asked for; on a GPU at most ", nearest_most - nearest_spare);
  if (N == 0) return s;
  s.lengths = taken({M + 1}, Dtype::f64, a.a);
  s.candidates = taken({2 * N * s.kept}, Dtype::i32, a.a);
  return s;
}

}  // namespace ov::kernels
