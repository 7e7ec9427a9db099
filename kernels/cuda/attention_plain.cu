// Attention in plain f32 arithmetic, for any head width up to 240: the one to read first, and the one that audits the
// others. It has the CPU's bits, in f32 and in bf16.
//
//   s_ij = scale q_i·k_j,  p_ij = exp(s_ij - lse_i),  o_i = Σ_j p_ij v_j                     (kernels/attention.h)
//
// The scores of a head, T x S numbers, never exist. A block takes 16 queries and walks their keys, 64 at a time:
//
//                  64 keys of this step                          256 threads: thread (i, lane) = (x / 16, x % 16)
//              lane 0   1  ...  15  0   1  ... 15  ...           has query i of the 16,
//            +---+---+---+---+---+---+---+---+---+                 scores of keys lane, lane + 16, + 32, + 48,
//   query 0  | 0 | 1 | . |15 | 0 | 1 | . |15 |...|                 columns lane, lane + 16, ... of the output
//   query 1  |16 |17 | . |31 |16 |17 | . |31 |...|               so the 16 threads of a query stand in one warp: its
//    ...     |   number in a field: its thread   |               maximum and sum are four shuffles, and a thread's own
//   query 15 |240|...|   |255|240|...|   |255|...|               four terms are one lane of base/sum.h
//            +---+---+---+---+---+---+---+---+---+
//
// What one query has when a step ends: the largest score so far `top`, the sum of exponentials `total` and the output
// `out`, both relative to top. A new maximum shrinks what was there by exp(old - new):
//
//   top'  = max(top, max_j s_j)
//   p_j   = exp(s_j - top')
//   total = total exp(top - top') + Σ_j p_j
//   out   = out   exp(top - top') + Σ_j p_j v_j                          at the end: o = out / total
//
// Backward repeats the scores from q, k and lse. With dp_ij = do_i·v_j and ds_ij = scale p_ij (dp_ij - δ_i):
//   gradient_q    blocks of 16 queries walk keys:    dq_i = Σ_j ds_ij k_j             the picture above, as it stands
//   gradient_kv   blocks of 16 keys walk queries:    dv_j = Σ_i p_ij do_i,            the same picture, with "key" and
//                                                    dk_j = Σ_i ds_ij q_i             "query" exchanged
//
// Per query and key: forward 4 D flops and an exponential; backward 14 D and two. Shared memory serves a row of K or V
// to 16 queries, so global memory is read 8 D bytes per key and 16 queries (f32): 8 flops a byte. Rows come number by
// number, for any width and stride, and arithmetic takes the time; δ alone streams, by packets (attention_rows.h).
#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int mine = plain_attention_tile;  // queries (keys) of a block
constexpr int lanes = 16;                   // threads of one of them
constexpr int others = 64;                  // keys (queries) of a step: attention_block, and the CPU's tile of queries
constexpr int turns = others / lanes;
static_assert(others == attention_block && lanes == sum_lanes);

// Shared memory, in floats: two arrays [16,D], two arrays [64,D] whose rows are one float longer, so that 16 threads
// reading a column meet different banks, two arrays [16,64], two arrays [64].
constexpr std::size_t shared_floats(int D) {
  return 2 * mine * D + 2 * others * (D + 1) + 2 * mine * others + 2 * others;
}

struct Sizes {
  int H, group, D;  // query heads, query heads of a key head, head width
  float scale;
  bool causal;
};

// What the second product reads of a probability: rounded to the type of the tensors.
template <class T>
__device__ float rounded(float p) {
  return float(T(p));
}

// A thread's columns of the output: lane, lane + 16, ... C is enough for all widths of the instance.
template <int C>
struct Columns {
  float at[C];
};

// to_d += Σ_j factor(j) row(j, d): the 64 of this step as one chain of fused multiply-adds from zero, as on the CPU.
template <int C, class Factor, class Row>
__device__ void add_product(Columns<C>& to, int n, int lane, int D, Factor factor, Row row) {
  float chain[C];
  for (int c = 0; c < C; ++c) chain[c] = 0;
  for (int j = 0; j < n; ++j) {
    const float f = factor(j);
    for (int c = 0; c < C; ++c)
      if (lane + lanes * c < D) chain[c] = std::fma(f, row(j, lane + lanes * c), chain[c]);
  }
  for (int c = 0; c < C; ++c) to.at[c] += chain[c];
}

template <class T, int C>
__global__ void forward(Heads<T> o_heads, float* lse, Heads<T> q_heads, Heads<T> k_heads, Heads<T> v_heads,
                        const Piece* pieces, const SegmentRow* table, Sizes a) {
  const Piece piece = pieces[blockIdx.x / a.H];
  if (piece.row < 0) return;
  const TableRow row(table, piece.row, a.causal);
  const int head = int(blockIdx.x) % a.H, D = a.D;
  const int i = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const int last = smaller(mine, row.q_length - piece.first) - 1;
  const int query = piece.first + smaller(i, last);  // threads without a query repeat the last one and write nothing

  DYN_SHARED(float, shared);
  const auto q = [&](int i, int d) -> float& { return shared[i * D + d]; };
  const auto k = [&](int j, int d) -> float& { return shared[2 * mine * D + j * (D + 1) + d]; };
  const auto v = [&](int j, int d) -> float& { return shared[2 * mine * D + (others + j) * (D + 1) + d]; };
  const auto p = [&](int i, int j) -> float& { return shared[2 * mine * D + 2 * others * (D + 1) + i * others + j]; };

  for (int d = lane; d < D; d += lanes) q(i, d) = float(q_heads.at(row.q_begin + query, head)[d]);
  float top = -INFINITY, total = 0;
  Columns<C> out{};
  const int end = row.limit(piece.first + last);
  for (int j0 = 0; j0 < end; j0 += others) {
    const int n = smaller(others, end - j0);
    for (int j = i; j < n; j += mine)
      for (int d = lane; d < D; d += lanes) {
        k(j, d) = float(k_heads.at(row.position(j0 + j), head / a.group)[d]);
        v(j, d) = float(v_heads.at(row.position(j0 + j), head / a.group)[d]);
      }
    __syncthreads();  // the block's K and V are there

    float s[turns];
    for (int t = 0; t < turns; ++t) s[t] = 0;
    for (int d = 0; d < D; ++d)
      for (int t = 0; t < turns; ++t)
        if (lane + lanes * t < n) s[t] = std::fma(q(i, d), k(lane + lanes * t, d), s[t]);

    const float old = top;
    for (int t = 0; t < turns; ++t) {
      s[t] = j0 + lane + lanes * t < row.limit(query) ? s[t] * a.scale : -INFINITY;
      top = s[t] > top ? s[t] : top;
    }
    for (int step = lanes / 2; step; step /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, top, step);
      top = other > top ? other : top;
    }
    const float shrink = math::exp(old - top);
    float sum = 0;
    for (int t = 0; t < turns; ++t) {
      s[t] = math::exp(s[t] - top);
      sum += s[t];
      p(i, lane + lanes * t) = rounded<T>(s[t]);
    }
    for (int step = lanes / 2; step; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    total = total * shrink + sum;
    __syncwarp();  // the 64 p of query i are there: its 16 threads stand in one warp

    for (int c = 0; c < C; ++c) out.at[c] *= shrink;
    add_product(
        out, n, lane, D, [&](int j) { return p(i, j); }, v);
    __syncthreads();  // before the next step overwrites K and V
  }
  if (i > last) return;
  for (int c = 0; c < C; ++c)
    if (lane + lanes * c < D) o_heads.at(row.q_begin + query, head)[lane + lanes * c] = T(out.at[c] / total);
  if (lane == 0) lse[std::int64_t(row.q_begin + query) * a.H + head] = top + math::log(total);
}

template <class T, int C>
__global__ void gradient_q(Heads<T> dq_heads, Heads<T> q_heads, Heads<T> k_heads, Heads<T> v_heads, Heads<T> do_heads,
                           const float* lse, const float* delta, const Piece* pieces, const SegmentRow* table,
                           Sizes a) {
  const Piece piece = pieces[blockIdx.x / a.H];
  if (piece.row < 0) return;
  const TableRow row(table, piece.row, a.causal);
  const int head = int(blockIdx.x) % a.H, D = a.D;
  const int i = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const int last = smaller(mine, row.q_length - piece.first) - 1, query = piece.first + smaller(i, last);

  DYN_SHARED(float, shared);
  const auto q = [&](int i, int d) -> float& { return shared[i * D + d]; };
  const auto d_o = [&](int i, int d) -> float& { return shared[(mine + i) * D + d]; };
  const auto k = [&](int j, int d) -> float& { return shared[2 * mine * D + j * (D + 1) + d]; };
  const auto v = [&](int j, int d) -> float& { return shared[2 * mine * D + (others + j) * (D + 1) + d]; };
  const auto ds = [&](int i, int j) -> float& { return shared[2 * mine * D + 2 * others * (D + 1) + i * others + j]; };

  for (int d = lane; d < D; d += lanes) {
    q(i, d) = float(q_heads.at(row.q_begin + query, head)[d]);
    d_o(i, d) = float(do_heads.at(row.q_begin + query, head)[d]);
  }
  const std::int64_t at = std::int64_t(row.q_begin + query) * a.H + head;
  const float my_lse = lse[at], my_delta = delta[at];
  Columns<C> dq{};
  const int end = row.limit(piece.first + last);
  for (int j0 = 0; j0 < end; j0 += others) {
    const int n = smaller(others, end - j0);
    for (int j = i; j < n; j += mine)
      for (int d = lane; d < D; d += lanes) {
        k(j, d) = float(k_heads.at(row.position(j0 + j), head / a.group)[d]);
        v(j, d) = float(v_heads.at(row.position(j0 + j), head / a.group)[d]);
      }
    __syncthreads();

    float s[turns], dp[turns];
    for (int t = 0; t < turns; ++t) s[t] = dp[t] = 0;
    for (int d = 0; d < D; ++d)
      for (int t = 0; t < turns; ++t)
        if (lane + lanes * t < n) {
          s[t] = std::fma(q(i, d), k(lane + lanes * t, d), s[t]);
          dp[t] = std::fma(d_o(i, d), v(lane + lanes * t, d), dp[t]);
        }
    for (int t = 0; t < turns; ++t) {
      const float p = math::exp(s[t] * a.scale - my_lse);
      ds(i, lane + lanes * t) = j0 + lane + lanes * t < row.limit(query) ? p * (dp[t] - my_delta) * a.scale : 0.f;
    }
    __syncwarp();
    add_product(
        dq, n, lane, D, [&](int j) { return ds(i, j); }, k);
    __syncthreads();
  }
  if (i > last) return;
  for (int c = 0; c < C; ++c)
    if (lane + lanes * c < D) dq_heads.at(row.q_begin + query, head)[lane + lanes * c] = T(dq.at[c]);
}

// A key is seen by the queries of its own row of the table, and of the rows whose prefix that is: each adds its own
// total, in table order. Within a row: query heads, then queries 64 at a time.
template <class T, int C>
__global__ void gradient_kv(Heads<T> dk_heads, Heads<T> dv_heads, Heads<T> q_heads, Heads<T> k_heads, Heads<T> v_heads,
                            Heads<T> do_heads, const float* lse, const float* delta, const Piece* pieces,
                            const int* next, const SegmentRow* table, Sizes a) {
  const int K = a.H / a.group;
  const Piece piece = pieces[blockIdx.x / K];
  if (piece.row < 0) return;
  const TableRow own(table, piece.row, a.causal);
  const int kv_head = int(blockIdx.x) % K, D = a.D;
  const int j = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const int own_keys = own.keys - own.prefix_length, last = smaller(mine, own_keys - piece.first) - 1;
  const int own_key = piece.first + smaller(j, last);

  DYN_SHARED(float, shared);
  const auto k = [&](int j, int d) -> float& { return shared[j * D + d]; };
  const auto v = [&](int j, int d) -> float& { return shared[(mine + j) * D + d]; };
  const auto q = [&](int i, int d) -> float& { return shared[2 * mine * D + i * (D + 1) + d]; };
  const auto d_o = [&](int i, int d) -> float& { return shared[2 * mine * D + (others + i) * (D + 1) + d]; };
  const int products = 2 * mine * D + 2 * others * (D + 1);
  const auto p = [&](int j, int i) -> float& { return shared[products + j * others + i]; };
  const auto ds = [&](int j, int i) -> float& { return shared[products + (mine + j) * others + i]; };
  const auto lse_of = [&](int i) -> float& { return shared[products + 2 * mine * others + i]; };
  const auto delta_of = [&](int i) -> float& { return shared[products + 2 * mine * others + others + i]; };

  for (int d = lane; d < D; d += lanes) {
    k(j, d) = float(k_heads.at(own.k_begin + own_key, kv_head)[d]);
    v(j, d) = float(v_heads.at(own.k_begin + own_key, kv_head)[d]);
  }
  Columns<C> dk{}, dv{};
  for (int r = piece.row; r >= 0; r = own.branch ? -1 : next[r]) {
    const TableRow row(table, r, a.causal);
    const int before = r == piece.row ? own.prefix_length : 0;  // keys of the row that come before own keys
    Columns<C> dk_row{}, dv_row{};
    for (int head = kv_head * a.group; head < (kv_head + 1) * a.group; ++head)
      for (int i0 = row.first_query(before + piece.first) / others * others; i0 < row.q_length; i0 += others) {
        const int n = smaller(others, row.q_length - i0);
        for (int i = j; i < n; i += mine) {
          const std::int64_t t = row.q_begin + i0 + i;
          for (int d = lane; d < D; d += lanes) {
            q(i, d) = float(q_heads.at(t, head)[d]);
            d_o(i, d) = float(do_heads.at(t, head)[d]);
          }
          if (lane == 0) lse_of(i) = lse[t * a.H + head], delta_of(i) = delta[t * a.H + head];
        }
        __syncthreads();

        float s[turns], dp[turns];
        for (int t = 0; t < turns; ++t) s[t] = dp[t] = 0;
        for (int d = 0; d < D; ++d)
          for (int t = 0; t < turns; ++t)
            if (lane + lanes * t < n) {
              s[t] = std::fma(q(lane + lanes * t, d), k(j, d), s[t]);
              dp[t] = std::fma(d_o(lane + lanes * t, d), v(j, d), dp[t]);
            }
        for (int t = 0; t < turns; ++t) {
          const int i = lane + lanes * t;
          const bool seen = i < n && before + own_key < row.limit(i0 + i);
          const float pi = seen ? math::exp(s[t] * a.scale - lse_of(i)) : 0.f;
          p(j, i) = rounded<T>(pi);
          ds(j, i) = seen ? pi * (dp[t] - delta_of(i)) * a.scale : 0.f;
        }
        __syncwarp();
        add_product(
            dv_row, n, lane, D, [&](int i) { return p(j, i); }, d_o);
        add_product(
            dk_row, n, lane, D, [&](int i) { return ds(j, i); }, q);
        __syncthreads();
      }
    for (int c = 0; c < C; ++c) dk.at[c] += dk_row.at[c], dv.at[c] += dv_row.at[c];
  }
  if (j > last) return;
  for (int c = 0; c < C; ++c) {
    const int d = lane + lanes * c;
    if (d >= D) continue;
    dk_heads.at(own.k_begin + own_key, kv_head)[d] = T(dk.at[c]);
    dv_heads.at(own.k_begin + own_key, kv_head)[d] = T(dv.at[c]);
  }
}

// Calls f(T{}, columns) with the type and the number of columns a thread that the width needs.
template <class F>
void by_type_and_width(const Tensor& q, F&& f) {
  const std::int64_t D = q.dim(2);
  if (D > 240)  // what 163 KB of shared memory hold, a block's share of compute capability 8.0
    input_error("attention on a CUDA device: heads of ", D, " numbers; at most 240 are supported");
  by_cuda_dtype(q.dtype(), [&](auto t) {
    if (D <= 2 * lanes) f(t, std::integral_constant<int, 2>{});
    else if (D <= 8 * lanes) f(t, std::integral_constant<int, 8>{});
    else f(t, std::integral_constant<int, 16>{});
  });
}

template <class Args>
Sizes sizes_of(const Args& a) {
  return {int(a.q.dim(1)), int(a.q.dim(1) / a.k.dim(1)), int(a.q.dim(2)), float(a.scale), a.causal};
}

}  // namespace

void plain_attention_forward(const AttentionForward& a, const AttentionForwardScratch& space, gpu::Stream stream) {
  if (a.q.dim(0) == 0) return;
  const Sizes sizes = sizes_of(a);
  by_type_and_width(a.q, [&](auto t, auto columns) {
    using T = decltype(t);
    clear_uncovered<T>(a.o, {}, a.lse, a.segments, false, stream);
    const WorkList work(space.queries, a.segments, Listed::queries, stream);
    if (work.S == 0) return;
    launch(forward<T, columns.value>, dim3(unsigned(work.count * sizes.H)), dim3(mine * lanes),
           shared_floats(sizes.D) * sizeof(float), stream, heads_of<T>(a.o), a.lse.device_data<float>(),
           heads_of<T>(a.q), heads_of<T>(a.k), heads_of<T>(a.v), work.pieces, table_of(a.segments), sizes);
  });
}

void plain_attention_backward(const AttentionBackward& a, const AttentionBackwardScratch& space, gpu::Stream stream) {
  const std::int64_t queries = a.q.dim(0), H = a.q.dim(1), keys = a.k.dim(0), K = a.k.dim(1);
  const Sizes sizes = sizes_of(a);
  const std::size_t shared_bytes = shared_floats(sizes.D) * sizeof(float);
  by_type_and_width(a.q, [&](auto t, auto columns) {
    using T = decltype(t);
    const auto q = heads_of<T>(a.q), k = heads_of<T>(a.k), v = heads_of<T>(a.v), d_o = heads_of<T>(a.d_o);
    const SegmentRow* table = table_of(a.segments);
    if (queries > 0) clear_uncovered<T>(a.dq, {}, {}, a.segments, false, stream);
    if (keys > 0) clear_uncovered<T>(a.dk, a.dv, {}, a.segments, true, stream);
    if (!space.delta) return;
    const float *lse = a.lse.device_data<float>(), *delta = deltas<T>(space.delta, a, stream);
    const WorkList of_queries(space.queries, a.segments, Listed::queries, stream),
        of_keys(space.keys, a.segments, Listed::keys, stream);
    launch(gradient_kv<T, columns.value>, dim3(unsigned(of_keys.count * K)), dim3(mine * lanes), shared_bytes, stream,
           heads_of<T>(a.dk), heads_of<T>(a.dv), q, k, v, d_o, lse, delta, of_keys.pieces, of_keys.next, table, sizes);
    launch(gradient_q<T, columns.value>, dim3(unsigned(of_queries.count * H)), dim3(mine * lanes), shared_bytes, stream,
           heads_of<T>(a.dq), q, k, v, d_o, lse, delta, of_queries.pieces, table, sizes);
  });
}

}  // namespace ov::kernels::OV_CUDA
