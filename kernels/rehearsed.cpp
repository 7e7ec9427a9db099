#include "kernels/rehearsed.h"

#include <algorithm>

#include "kernels/row_products.h"

namespace ov::kernels {
namespace {

Tensor taken(const Shape& shape, Dtype dtype, const Tensor& beside) {
  return Tensor(shape, dtype, beside.device(), Segment::workspace);
}
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
bool at_16_bytes(const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.device_bytes()) % 16 == 0; }

// kernels/cuda/row_sums.h
void sums(std::int64_t N, std::int64_t C, const Tensor& to) {
  if (N == 0 || C == 0) return;
  std::int64_t rows = ceil_div(N, 64);
  for (Tensor partial = taken({rows, C}, Dtype::f32, to); (rows = ceil_div(rows, 64)) > 1;)
    partial = taken({rows, C}, Dtype::f32, to);
}
void sum_rows(const SumRows& a) {
  const auto [N, C] = a.x.dims<2>();
  sums(N, C, a.sum);
}
void layernorm_backward(const LayernormBackward& a) {
  const auto [N, C] = a.x.dims<2>();
  for (const Tensor* to : {&a.dw, &a.db})
    if (*to) sums(N, C, *to);
}
void rmsnorm_backward(const RmsnormBackward& a) {
  const auto [N, C] = a.x.dims<2>();
  if (a.dw) sums(N, C, a.dw);
}
void norm_rope_backward(const NormRopeBackward& a) {
  const auto [L, H, D] = a.x.dims<3>();
  if (a.dw) sums(L * H, D, a.dw);
}
void load_balance_forward(const LoadBalanceForward& a) {
  const auto [N, E] = a.probabilities.dims<2>();
  const Tensor total = taken({E}, Dtype::f32, a.loss);
  sums(N, E, total);
}

// kernels/cuda/attention_rows.h: pieces of so many rows, and where each segment's begin.
Tensor row_pieces(const Tensor& segments, std::int64_t rows, std::int64_t size) {
  const std::int64_t S = segments.dim(0), count = rows / size + S;
  return taken({std::max<std::int64_t>(1, 2 * count + S)}, Dtype::i32, segments);
}
// kernels/cuda/attention_tensor_cores.cu
constexpr std::int64_t block = 128, plain_block = 16, span_rows = 16, span_keys = 512;
bool on_tensor_cores(const Tensor& q, const Tensor& k, double scale, std::initializer_list<Tensor> all) {
  const std::int64_t D = q.dim(2);
  return q.dtype() == Dtype::bf16 && (D == 16 || D == 32 || D == 64 || D == 128) && scale > 0 &&
         q.dim(1) / k.dim(1) <= block && std::all_of(all.begin(), all.end(), [](const Tensor& t) {
           return at_16_bytes(t) && t.stride(0) % 8 == 0 && t.stride(1) % 8 == 0;
         });
}
void attention_forward(const AttentionForward& a) {
  const std::int64_t queries = a.q.dim(0), keys = a.k.dim(0), K = a.k.dim(1), D = a.q.dim(2);
  if (queries == 0) return;
  const std::int64_t group = a.q.dim(1) / K;
  const bool fits = on_tensor_cores(a.q, a.k, a.scale, {a.q, a.k, a.v, a.o});
  const Tensor pieces = row_pieces(a.segments, queries, fits ? block / group : plain_block);
  if (!fits || a.segments.dim(0) == 0 || !a.causal || keys <= span_keys || queries >= keys || group > span_rows) return;
  const Tensor spans = row_pieces(a.segments, keys, span_keys);  // kernels/cuda/attention_spans.cu
  const std::int64_t rows = (keys / span_keys + a.segments.dim(0)) * K * span_rows;
  const Tensor partials = taken({rows * (D + 2)}, Dtype::f32, a.q);
}
void attention_backward(const AttentionBackward& a) {
  const std::int64_t queries = a.q.dim(0), keys = a.k.dim(0), H = a.q.dim(1), group = H / a.k.dim(1);
  const bool fits = on_tensor_cores(a.q, a.k, a.scale, {a.q, a.k, a.v, a.o, a.d_o, a.dq, a.dk, a.dv});
  if (queries == 0 || (fits && keys == 0) || a.segments.dim(0) == 0) return;
  const Tensor delta = taken({queries, H}, Dtype::f32, a.o);
  const Tensor of_queries = row_pieces(a.segments, queries, fits ? block / group : plain_block);
  const Tensor of_keys = row_pieces(a.segments, keys, fits ? block : plain_block);
}

// kernels/cuda/gemm.cu: of 16 rows at most, and where rows must not depend on each other, it is no library's.
void gemm(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[g.trans_a ? 0 : 1];
  if (M == 0 || N == 0 || K == 0 || !g.bias) return;
  if (g.trans_b && !g.trans_a && !g.accumulate && (RowProducts::wanted() || M <= 16)) return;
  if (!at_16_bytes(g.bias) || g.bias.dtype() != g.c.dtype()) taken({N}, g.c.dtype(), g.c);
}
// kernels/cuda/grouped_gemm.cu
void grouped_gemm(const GroupedGemm& g) {
  const std::int64_t E = g.offsets.numel() - 1, R = g.a.dim(0);
  const std::int64_t C = (g.trans_b ? g.a : g.trans_a ? g.b : g.c).dim(1), F = (g.trans_b ? g.c : g.a).dim(1);
  if (E == 0 || F == 0 || C == 0 || (R == 0 && (!g.trans_a || g.accumulate))) return;
  const auto in_packets = [](const Tensor& t) { return at_16_bytes(t) && t.stride(0) % 8 == 0; };
  const bool tensor_cores =
      g.a.dtype() == Dtype::bf16 && F % 8 == 0 && C % 8 == 0 && in_packets(g.a) && in_packets(g.b);
  taken({R / (tensor_cores ? 128 : 32) + E, 2}, Dtype::i32, g.a);
}
void expert_order(const ExpertOrder& a) {
  taken({std::max<std::int64_t>(ceil_div(a.tokens.numel(), 1024) * (a.offsets.numel() - 1), 1)}, Dtype::i64, a.tokens);
}
void embedding_backward(const EmbeddingBackward& a) {
  const auto [L, C] = a.dy.dims<2>();
  if (L > 0 && C > 0) taken({L}, Dtype::i64, a.dy);
}

void region_attention_backward(const RegionAttentionBackward& a) {
  taken({std::max<std::int64_t>(1, a.rows.numel()), a.q.dim(1), 2}, Dtype::f32, a.q);
}
void cluster_hits(const ClusterHits& a) {
  if (a.cos.dim(0) > 0) taken({a.cos.dim(0)}, Dtype::i64, a.cos);
}
void exp_scale_backward(const ExpScaleBackward& a) {
  const std::int64_t N = a.dy.dims<2>()[0];
  if (a.ds && N > 0) taken({N}, Dtype::f32, a.dy);
}

Table table() {
  Table t = meta_table();
  t.sum_rows = sum_rows, t.layernorm_backward = layernorm_backward, t.rmsnorm_backward = rmsnorm_backward;
  t.norm_rope_backward = norm_rope_backward, t.load_balance_forward = load_balance_forward;
  t.attention_forward = attention_forward, t.attention_backward = attention_backward;
  t.gemm = gemm, t.grouped_gemm = grouped_gemm;
  t.expert_order = expert_order, t.embedding_backward = embedding_backward;
  t.region_attention_backward = region_attention_backward, t.cluster_hits = cluster_hits;
  t.exp_scale_backward = exp_scale_backward;
  return t;
}

}  // namespace

const Table& rehearsed_table() {
  static const Table all = table();
  return all;
}

}  // namespace ov::kernels
