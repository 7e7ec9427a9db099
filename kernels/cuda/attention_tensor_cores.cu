// Attention in bf16 on tensor cores (FlashAttention-2, Dao 2023), forward and backward, for heads of 16, 32, 64 and 128
// numbers. Read attention_plain.cu first: this is the same walk, a block's rows times 64 keys a step.
//
//   S = Q Kᵀ,  p_ij = 2^(c s_ij - c top_i) with c = scale log2 e,  O = P V                    (kernels/attention.h)
//
// A block has 128 rows, 16 a warp. A row is a query together with one of the `group` heads that read the same keys:
// row i is query i / group, head i % group. So a key is read once for all of them, and short segments fill their tile.
//
//           64 keys of a step: 8 tiles of 8                   one tile of S (a C fragment of kernels/cuda/ptx.h)
//           +-----+-----+--   --+-----+                        columns 0 1 | 2 3 | 4 5 | 6 7     number: the lane
//   warp 0  |  n=0|  n=1|  ...  |  n=7|  16 rows               row 0    0  |  1  |  2  |  3      that holds both
//   warp 1  +-----+-----+--   --+-----+                        row 1    4  |  5  |  6  |  7      numbers
//    ...                                                        ...                              rows 8 .. 15: the
//   warp 7                                                     row 7   28  | 29  | 30  | 31      same lanes again
//
// So lane l has rows g and g + 8 of its warp, g = l / 4, and of each tile of keys columns 2q, 2q + 1, q = l % 4:
// s[n][e] is row g + 8 (e / 2), key 8 n + 2 q + e % 2. A row's maximum is two shuffles among four lanes. Its sum is
// kept by each lane for its own keys and added up where a span of 512 keys ends (attention_tiles.h); of more than one
// span the outputs so far wait in shared memory. P, rounded to bf16, is the left side of the next product as it stands
// in the registers.
//
// What runs at the same time: K and V come by cp.async, the next K while this step's softmax runs.
//
// Backward is two kernels, and nothing is added to from two blocks, so a gradient's bits do not depend on their order:
//   gradient_kv   128 keys a block, 16 a warp; walks the queries that see them. Sᵀ = K Qᵀ and dPᵀ = V dOᵀ make
//                 Pᵀ and dSᵀ = Pᵀ (dPᵀ - δ), and dV += Pᵀ dO, dK += dSᵀ Q: again fragments as they stand
//   gradient_q    128 rows a block as forward: S = Q Kᵀ, dP = dO Vᵀ, dQ += dS K
// Seven products instead of the five that adding dQ from two sides would need.
//
// Numerics: scores, softmax and sums in f32; p and ds are rounded to bf16 where they enter the second product, results
// once. A query's bits depend on its own keys alone: the order of every sum is that of the keys, in steps of 64 and
// spans of 512 from the first one; a key's on the queries that see it.
// Per key and row: forward 4 D flops and one exponential, backward 14 D and two. Bytes of global memory per block and
// key: 4 D forward. Shared memory at D = 128: 64 KB forward (132 KB of more than one span: there is one block a
// multiprocessor either way, by its registers), 97 KB gradient_kv, 128 KB gradient_q. At D = 64 there are two blocks,
// but one where a row has several spans: it takes 140 registers, and held to the 128 of two blocks it spills.
//
// Not here: the list is made on the device once a call and in table order, not once a batch and longest first; a long
// prefix with many branches is one block's work per 128 keys. Both are for a GPU to measure.
#include "kernels/cuda/attention_tiles.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int rows_of_block = attention_tile, warps = 8, threads = 32 * warps;
static_assert(rows_of_block == 16 * warps);

// several: some row may have more than one span.
template <int D, bool several>
__global__ void __launch_bounds__(threads)
    forward(Heads<Bf16> o, float* lse, Heads<Bf16> q, Heads<Bf16> k, Heads<Bf16> v, const Piece* pieces,
            const SegmentRow* table, AttentionSizes a) {
  const int K = a.H / a.group, kv_head = int(blockIdx.x) % K;
  const Piece piece = pieces[blockIdx.x / K];
  if (piece.row < 0) return;
  const TableRow row(table, piece.row, a.causal);
  const int queries = smaller(rows_of_block / a.group, row.q_length - piece.first), rows = queries * a.group;
  const PackedRows packed{row.q_begin, piece.first, kv_head * a.group, a.group};
  const Lane my(int(threadIdx.x) / 32 * 16);
  int visible[2];  // keys that my rows see
  for (int h = 0; h < 2; ++h) visible[h] = my.row[h] < rows ? row.limit(piece.first + my.row[h] / a.group) : 0;
  const int end = row.limit(piece.first + queries - 1), seen_by_all = row.limit(piece.first);

  DYN_SHARED(Bf16, shared);
  constexpr int of_q = 0, of_k = rows_of_block * D, of_v = of_k + step * D;
  const auto load_keys = [&](int to, const Heads<Bf16>& x, int j0) {
    load_tile<step, D>(shared, to, smaller(step, end - j0), [&](int j) { return x.at(row.position(j0 + j), kv_head); });
  };
  load_tile<rows_of_block, D>(shared, of_q, rows, [&](int i) { return packed.of(q, i); });
  load_keys(of_k, k, 0);
  ptx::copy_async_commit();

  // Of the spans before this one: a lane's outputs, then top and total of its rows, in columns of threads.
  constexpr int of_before = (of_v + step * D) / 2;
  DYN_SHARED(float, floats);
  [[maybe_unused]] const auto before = [&](int i) -> float& { return floats[of_before + i * threads + threadIdx.x]; };

  float out[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  for (int j0 = 0; j0 < end; j0 += step) {
    load_keys(of_v, v, j0);
    ptx::copy_async_commit();
    ptx::copy_async_wait<1>();  // K is there, V may be on its way
    __syncthreads();
    float s[step / 8][4] = {};
    add_dots<D>(s, shared, of_q, my.row[0] / 16 * 16, of_k);
    __syncthreads();  // all warps have read K
    if (j0 + step < end) load_keys(of_k, k, j0 + step);
    ptx::copy_async_commit();  // an empty group counts as well

    if (j0 + step > seen_by_all || rows < rows_of_block) hide(s, my, visible[0] - j0, visible[1] - j0);
    softmax_step(s, out, top, total, a.log2);
    unsigned p[step / 16][4];
    as_left(p, s);
    ptx::copy_async_wait<1>();  // V is there, the next K may be on its way
    __syncthreads();
    add_rows<D>(out, p, shared, of_v);
    __syncthreads();  // before the next step overwrites V

    if constexpr (!several) continue;
    const int span = j0 / span_keys * span_keys;
    if (end <= span_keys || (j0 + step < end && j0 + step < span + span_keys)) continue;
    UNROLL
    for (int h = 0; h < 2; ++h) {  // the end of a span, of several
      const float sum = of_row(total[h]);
      if (span < visible[h]) {
        Spans spans;
        if (span > 0) spans.top = before(D / 2 + h), spans.total = before(D / 2 + 2 + h);
        spans.add(top[h], sum, a.log2);
        before(D / 2 + h) = spans.top, before(D / 2 + 2 + h) = spans.total;
        UNROLL
        for (int n = 0; n < D / 8; ++n)
          for (int e = 2 * h; e < 2 * h + 2; ++e)
            before(4 * n + e) = span == 0 ? out[n][e] : spans.joined(before(4 * n + e), out[n][e]);
      }
      UNROLL
      for (int n = 0; n < D / 8; ++n) out[n][2 * h] = out[n][2 * h + 1] = 0;
      top[h] = -INFINITY, total[h] = 0;
    }
  }
  UNROLL
  for (int h = 0; h < 2; ++h) {
    total[h] = of_row(total[h]);
    if (my.row[h] >= rows) continue;
    if (several && end > span_keys) {
      top[h] = before(D / 2 + h), total[h] = before(D / 2 + 2 + h);
      UNROLL
      for (int n = 0; n < D / 8; ++n)
        for (int e = 2 * h; e < 2 * h + 2; ++e) out[n][e] = before(4 * n + e);
    }
    write_row(packed.of(o, my.row[h]), out, h, my.column, 1 / total[h]);
    if (my.column == 0)
      lse[packed.query(my.row[h]) * a.H + packed.head(my.row[h])] = top[h] * a.scale + math::log(total[h]);
  }
}

template <int D>
__global__ void __launch_bounds__(threads)
    gradient_q(Heads<Bf16> dq, Heads<Bf16> q, Heads<Bf16> k, Heads<Bf16> v, Heads<Bf16> d_o, const float* lse,
               const float* delta, const Piece* pieces, const SegmentRow* table, AttentionSizes a) {
  const int K = a.H / a.group, kv_head = int(blockIdx.x) % K;
  const Piece piece = pieces[blockIdx.x / K];
  if (piece.row < 0) return;
  const TableRow row(table, piece.row, a.causal);
  const int queries = smaller(rows_of_block / a.group, row.q_length - piece.first), rows = queries * a.group;
  const PackedRows packed{row.q_begin, piece.first, kv_head * a.group, a.group};
  const Lane my(int(threadIdx.x) / 32 * 16);
  int visible[2];
  float my_lse[2] = {}, my_delta[2] = {};  // lse in units of log 2
  for (int h = 0; h < 2; ++h) {
    visible[h] = my.row[h] < rows ? row.limit(piece.first + my.row[h] / a.group) : 0;
    if (my.row[h] >= rows) continue;
    const std::int64_t at = packed.query(my.row[h]) * a.H + packed.head(my.row[h]);
    my_lse[h] = lse[at] * std::numbers::log2e_v<float>, my_delta[h] = delta[at];
  }
  const int end = row.limit(piece.first + queries - 1);

  DYN_SHARED(Bf16, shared);
  constexpr int of_q = 0, of_do = rows_of_block * D, of_keys = 2 * of_do;  // then two stages of K and V
  const auto stage_of = [](int turn) { return of_keys + turn % 2 * 2 * step * D; };
  const auto load_keys = [&](int turn) {
    const int j0 = turn * step, n = smaller(step, end - j0);
    load_tile<step, D>(shared, stage_of(turn), n, [&](int j) { return k.at(row.position(j0 + j), kv_head); });
    load_tile<step, D>(shared, stage_of(turn) + step * D, n,
                       [&](int j) { return v.at(row.position(j0 + j), kv_head); });
  };
  load_tile<rows_of_block, D>(shared, of_q, rows, [&](int i) { return packed.of(q, i); });
  load_tile<rows_of_block, D>(shared, of_do, rows, [&](int i) { return packed.of(d_o, i); });
  load_keys(0);
  ptx::copy_async_commit();

  float out[D / 8][4] = {};
  for (int turn = 0; turn * step < end; ++turn) {
    if ((turn + 1) * step < end) load_keys(turn + 1);
    ptx::copy_async_commit();
    ptx::copy_async_wait<1>();
    __syncthreads();
    float s[step / 8][4] = {}, ds[step / 8][4] = {};
    add_dots<D>(s, shared, of_q, my.row[0] / 16 * 16, stage_of(turn));
    add_dots<D>(ds, shared, of_do, my.row[0] / 16 * 16, stage_of(turn) + step * D);
    UNROLL
    for (int n = 0; n < step / 8; ++n)
      for (int e = 0; e < 4; ++e) {
        const bool seen = turn * step + 8 * n + my.column + e % 2 < visible[e / 2];
        const float p = seen ? ptx::exp2(std::fma(s[n][e], a.log2, -my_lse[e / 2])) : 0.f;
        ds[n][e] = p * (ds[n][e] - my_delta[e / 2]);
      }
    unsigned left[step / 16][4];
    as_left(left, ds);
    add_rows<D>(out, left, shared, stage_of(turn));
    __syncthreads();  // before the next turn overwrites this stage
  }
  for (int h = 0; h < 2; ++h)
    if (my.row[h] < rows) write_row(packed.of(dq, my.row[h]), out, h, my.column, a.scale);
}

// The queries that see a key: those of its own row of the table, then those of the rows whose prefix that is, in table
// order. Within a row they come `wide` packed rows at a time.
template <int D>
__global__ void __launch_bounds__(threads)
    gradient_kv(Heads<Bf16> dk, Heads<Bf16> dv, Heads<Bf16> q, Heads<Bf16> k, Heads<Bf16> v, Heads<Bf16> d_o,
                const float* lse, const float* delta, const Piece* pieces, const int* next, const SegmentRow* table,
                AttentionSizes a) {
  constexpr int wide = D > 64 ? 32 : 64;
  const int K = a.H / a.group, kv_head = int(blockIdx.x) % K;
  const Piece piece = pieces[blockIdx.x / K];
  if (piece.row < 0) return;
  const TableRow own(table, piece.row, a.causal);
  const int keys = smaller(rows_of_block, own.keys - own.prefix_length - piece.first);
  const std::int64_t key0 = own.k_begin + piece.first;
  const Lane my(int(threadIdx.x) / 32 * 16);

  SHARED(float, lse_of, 2, wide);  // of the packed rows of a stage, in units of log 2
  SHARED(float, delta_of, 2, wide);
  SHARED(int, limit_of, 2, wide);
  DYN_SHARED(Bf16, shared);
  constexpr int of_k = 0, of_v = rows_of_block * D, of_queries = 2 * of_v;  // then two stages of Q and dO
  const auto stage_of = [](int stage) { return of_queries + stage * 2 * wide * D; };
  load_tile<rows_of_block, D>(shared, of_k, keys, [&](int j) { return k.at(key0 + j, kv_head); });
  load_tile<rows_of_block, D>(shared, of_v, keys, [&](int j) { return v.at(key0 + j, kv_head); });

  float to_k[D / 8][4] = {}, to_v[D / 8][4] = {};
  for (int r = piece.row; r >= 0; r = own.branch ? -1 : next[r]) {
    const TableRow row(table, r, a.causal);
    const int before = (r == piece.row ? own.prefix_length : 0) + piece.first;  // the row's keys before this tile
    const int rows = row.q_length * a.group, first = row.first_query(before) * a.group / wide * wide;
    const PackedRows packed{row.q_begin, 0, kv_head * a.group, a.group};
    const auto load_queries = [&](int stage, int i0) {
      const int n = smaller(wide, rows - i0), x = threadIdx.x;
      load_tile<wide, D>(shared, stage_of(stage), n, [&](int i) { return packed.of(q, i0 + i); });
      load_tile<wide, D>(shared, stage_of(stage) + wide * D, n, [&](int i) { return packed.of(d_o, i0 + i); });
      if (x >= wide) return;
      const std::int64_t at = x < n ? packed.query(i0 + x) * a.H + packed.head(i0 + x) : 0;
      lse_of[stage][x] = x < n ? lse[at] * std::numbers::log2e_v<float> : 0.f;
      delta_of[stage][x] = x < n ? delta[at] : 0.f;
      limit_of[stage][x] = x < n ? row.limit((i0 + x) / a.group) : 0;
    };
    if (first < rows) load_queries(0, first);
    ptx::copy_async_commit();
    for (int i0 = first, stage = 0; i0 < rows; i0 += wide, stage ^= 1) {
      if (i0 + wide < rows) load_queries(stage ^ 1, i0 + wide);
      ptx::copy_async_commit();
      ptx::copy_async_wait<1>();
      __syncthreads();
      float p[wide / 8][4] = {}, ds[wide / 8][4] = {};
      add_dots<D>(p, shared, of_k, my.row[0] / 16 * 16, stage_of(stage));
      add_dots<D>(ds, shared, of_v, my.row[0] / 16 * 16, stage_of(stage) + wide * D);
      UNROLL
      for (int n = 0; n < wide / 8; ++n)
        for (int e = 0; e < 4; ++e) {
          const int i = 8 * n + my.column + e % 2;
          const bool seen = before + my.row[e / 2] < limit_of[stage][i];
          p[n][e] = seen ? ptx::exp2(std::fma(p[n][e], a.log2, -lse_of[stage][i])) : 0.f;
          ds[n][e] = p[n][e] * (ds[n][e] - delta_of[stage][i]);
        }
      unsigned left[wide / 16][4];
      as_left(left, p);
      add_rows<D>(to_v, left, shared, stage_of(stage) + wide * D);
      as_left(left, ds);
      add_rows<D>(to_k, left, shared, stage_of(stage));
      __syncthreads();  // before the next turn overwrites this stage
    }
  }
  for (int h = 0; h < 2; ++h) {
    if (my.row[h] >= keys) continue;
    write_row(dk.at(key0 + my.row[h], kv_head), to_k, h, my.column, a.scale);
    write_row(dv.at(key0 + my.row[h], kv_head), to_v, h, my.column, 1.f);
  }
}

}  // namespace

void tensor_core_attention_forward(const AttentionForward& a, const AttentionForwardScratch& space,
                                   gpu::Stream stream) {
  if (a.q.dim(0) == 0) return;
  const std::int64_t K = a.k.dim(1);
  const AttentionSizes sizes = sizes_of(a);
  clear_uncovered<Bf16>(a.o, {}, a.lse, a.segments, false, stream);
  const bool several = a.causal && a.k.dim(0) > span_keys, by_spans = space.spans.count > 0;
  const WorkList work(space.queries, a.segments, Listed::queries, stream, by_spans ? span_rows / sizes.group : 0);
  if (work.S == 0) return;
  if (by_spans) attention_by_spans(a, space, stream);
  const auto go = [&](auto kernel, std::size_t shared) {
    launch(kernel, dim3(unsigned(work.count * K)), dim3(threads), shared, stream, heads_of<Bf16>(a.o),
           a.lse.device_data<float>(), heads_of<Bf16>(a.q), heads_of<Bf16>(a.k), heads_of<Bf16>(a.v), work.pieces,
           table_of(a.segments), sizes);
  };
  by_width(a.q.dim(2), [&](auto width) {
    constexpr int D = width.value;
    constexpr std::size_t one = (rows_of_block + 2 * step) * D * sizeof(Bf16);
    if (several) go(forward<D, true>, one + (D / 2 + 4) * threads * sizeof(float));
    else go(forward<D, false>, one);
  });
}

void tensor_core_attention_backward(const AttentionBackward& a, const AttentionBackwardScratch& space,
                                    gpu::Stream stream) {
  const std::int64_t queries = a.q.dim(0), keys = a.k.dim(0), K = a.k.dim(1);
  const AttentionSizes sizes = sizes_of(a);
  if (queries > 0) clear_uncovered<Bf16>(a.dq, {}, {}, a.segments, false, stream);
  if (keys > 0) clear_uncovered<Bf16>(a.dk, a.dv, {}, a.segments, true, stream);
  if (!space.delta) return;
  const float *lse = a.lse.device_data<float>(), *delta = deltas<Bf16>(space.delta, a, stream);
  const auto q = heads_of<Bf16>(a.q), k = heads_of<Bf16>(a.k), v = heads_of<Bf16>(a.v), d_o = heads_of<Bf16>(a.d_o);
  const SegmentRow* table = table_of(a.segments);
  const WorkList of_queries(space.queries, a.segments, Listed::queries, stream);
  const WorkList of_keys(space.keys, a.segments, Listed::keys, stream);
  by_width(a.q.dim(2), [&](auto width) {
    constexpr int D = width.value, wide = D > 64 ? 32 : 64;
    launch(gradient_kv<D>, dim3(unsigned(of_keys.count * K)), dim3(threads),
           (2 * rows_of_block + 4 * wide) * D * sizeof(Bf16), stream, heads_of<Bf16>(a.dk), heads_of<Bf16>(a.dv), q, k,
           v, d_o, lse, delta, of_keys.pieces, of_keys.next, table, sizes);
    launch(gradient_q<D>, dim3(unsigned(of_queries.count * K)), dim3(threads),
           (2 * rows_of_block + 4 * step) * D * sizeof(Bf16), stream, heads_of<Bf16>(a.dq), q, k, v, d_o, lse, delta,
           of_queries.pieces, table, sizes);
  });
}

}  // namespace ov::kernels::OV_CUDA
