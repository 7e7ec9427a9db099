// Attention of a few queries over many keys, in bf16 on tensor cores: a token that is written reads its whole cache.
// Read attention_tiles.h first. A tile of 128 rows would be one block that walks all keys while the GPU waits; here
// each span of 512 keys has a block of its own, and a second kernel adds the spans up in their order.
//
//   span:  s_j = scale q·k_j,  m = max_j s_j,  l = Σ_j e^(s_j - m),  o = Σ_j e^(s_j - m) v_j
//   join:  m, l and o of the spans, one after the other; o / l                               (Spans, attention_tiles.h)
//
// walk_span: a block is a span, a row of the table and a key head. Its 16 rows are the row's queries times the heads
// that read this key head: of one token 4 to 8 of the 16 are there, and keys are read once for all of them.
//
//            64 keys of a step                      columns of o, D = 128
//           +-----+-----+--   --+-----+            +--------+--------+--------+--------+
//   S  16   |  n=0|  n=1|  ...  |  n=7|     O  16  | warp 0 | warp 1 | warp 2 | warp 3 |     += P [16,64] V [64,D]
//   rows    +-----+-----+--   --+-----+     rows   +--------+--------+--------+--------+
//             every warp, all of it
//
// Every warp has all of P in its registers, as the left side of its own columns: nothing is exchanged, and the sums are
// those of attention_tensor_cores.cu to the bit. What it repeats, 2 D FLOPs a key and row three times more, is hidden:
// a step brings 256 D bytes, at 4.8 TB/s 0.9 us of a multiprocessor's share, and takes 80 D / 16 products of a warp.
//
//   shared    | Q [16,D] | K, V [64,D] of this step | K, V of the next one, on their way |       68 KB at D = 128
//
// join_spans: a block is a row of the table and a key head, a thread one number of the outputs (then the next one):
// 1 / 64 of what walk_span reads.
//
// Bytes: 4 D a key and key head, read once, and for a span 8 D + 16 of each row there and back, 1 / 64 as much a row.
// FLOPs: 4 D a key, row and head, and an exponential.
#include "kernels/cuda/attention_tiles.h"

namespace ov::kernels::OV_CUDA {
namespace {

OV_HD constexpr int warps_of(int D) { return D >= 64 ? 4 : D / 16; }

// What spans end with: row i of piece p and key head h is number (p K + h) 16 + i.
struct Partials {
  float *out, *top, *total;  // [pieces,K,16,D], [pieces,K,16] both
};

template <int D>
__global__ void __launch_bounds__(32 * warps_of(D))
    walk_span(Partials to, Heads<Bf16> q, Heads<Bf16> k, Heads<Bf16> v, const Piece* pieces, const SegmentRow* table,
              AttentionSizes a) {
  const int K = a.H / a.group, kv_head = int(blockIdx.x) % K;
  const Piece piece = pieces[blockIdx.x / K];
  if (piece.row < 0) return;
  const TableRow row(table, piece.row, a.causal);
  const int rows = row.q_length * a.group;
  const PackedRows packed{row.q_begin, 0, kv_head * a.group, a.group};
  const Lane my(0);
  int visible[2];
  for (int h = 0; h < 2; ++h) visible[h] = my.row[h] < rows ? row.limit(my.row[h] / a.group) : 0;
  const int begin = piece.first, end = smaller(begin + span_keys, row.keys), seen_by_all = row.limit(0);

  DYN_SHARED(Bf16, shared);
  constexpr int of_q = 0, of_keys = span_rows * D;  // then two stages of K and V
  const auto stage_of = [](int turn) { return of_keys + turn % 2 * 2 * step * D; };
  const auto load_keys = [&](int turn) {
    const int j0 = begin + turn * step, n = smaller(step, end - j0);
    load_tile<step, D>(shared, stage_of(turn), n, [&](int j) { return k.at(row.position(j0 + j), kv_head); });
    load_tile<step, D>(shared, stage_of(turn) + step * D, n,
                       [&](int j) { return v.at(row.position(j0 + j), kv_head); });
  };
  load_tile<span_rows, D>(shared, of_q, rows, [&](int i) { return packed.of(q, i); });
  load_keys(0);
  ptx::copy_async_commit();

  constexpr int columns = D / warps_of(D);
  const int first = int(threadIdx.x) / 32 * columns;  // this warp's
  float out[columns / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  for (int turn = 0; begin + turn * step < end; ++turn) {
    const int j0 = begin + turn * step;
    if (j0 + step < end) load_keys(turn + 1);
    ptx::copy_async_commit();
    ptx::copy_async_wait<1>();  // this turn's keys are there, the next turn's may be on their way
    __syncthreads();
    float s[step / 8][4] = {};
    add_dots<D>(s, shared, of_q, 0, stage_of(turn));
    if (j0 + step > seen_by_all || rows < span_rows) hide(s, my, visible[0] - j0, visible[1] - j0);
    softmax_step(s, out, top, total, a.log2);
    unsigned p[step / 16][4];
    as_left(p, s);
    add_rows<D>(out, p, shared, stage_of(turn) + step * D, first / 8);
    __syncthreads();  // before the next turn overwrites this stage
  }
  for (int h = 0; h < 2; ++h) {
    total[h] = of_row(total[h]);
    if (my.row[h] >= rows) continue;
    const std::int64_t at = std::int64_t(blockIdx.x) * span_rows + my.row[h];
    UNROLL
    for (int n = 0; n < columns / 8; ++n)
      for (int e = 0; e < 2; ++e) to.out[at * D + first + 8 * n + my.column + e] = out[n][2 * h + e];
    if (threadIdx.x < 32 && my.column == 0) to.top[at] = top[h], to.total[at] = total[h];
  }
}

template <int D>
__global__ void join_spans(Heads<Bf16> o, float* lse, Partials from, const int* first_piece, const SegmentRow* table,
                           Listing listing, AttentionSizes a) {
  const int K = a.H / a.group, r = int(blockIdx.x) / K, kv_head = int(blockIdx.x) % K;
  if (!listing.by_spans(table[r])) return;
  const TableRow row(table, r, a.causal);
  const PackedRows packed{row.q_begin, 0, kv_head * a.group, a.group};
  for (int x = threadIdx.x; x < row.q_length * a.group * D; x += blockDim.x) {
    const int i = x / D, d = x % D, visible = row.limit(i / a.group);
    Spans spans;
    float out = 0;
    for (int n = 0; n * span_keys < visible; ++n) {
      const std::int64_t at = (std::int64_t(first_piece[r] + n) * K + kv_head) * span_rows + i;
      spans.add(from.top[at], from.total[at], a.log2);
      const float span_out = from.out[at * D + d];
      out = n == 0 ? span_out : spans.joined(out, span_out);
    }
    packed.of(o, i)[d] = Bf16(out * (1 / spans.total));
    if (d == 0) lse[packed.query(i) * a.H + packed.head(i)] = spans.top * a.scale + math::log(spans.total);
  }
}

}  // namespace

void attention_by_spans(const AttentionForward& a, const AttentionForwardScratch& space, gpu::Stream stream) {
  const AttentionSizes sizes = sizes_of(a);
  const std::int64_t K = a.k.dim(1);
  const WorkList work(space.spans, a.segments, Listed::spans, stream, span_rows / sizes.group);
  by_width(a.q.dim(2), [&](auto width) {
    constexpr int D = width.value;
    const std::int64_t rows = work.count * K * span_rows;
    float* const out = space.partials.device_data<float>();
    const Partials partials{out, out + rows * D, out + rows * (D + 1)};
    launch(walk_span<D>, dim3(unsigned(work.count * K)), dim3(32 * warps_of(D)),
           (span_rows + 4 * step) * D * sizeof(Bf16), stream, partials, heads_of<Bf16>(a.q), heads_of<Bf16>(a.k),
           heads_of<Bf16>(a.v), work.pieces, table_of(a.segments), sizes);
    launch(join_spans<D>, dim3(unsigned(work.S * K)), dim3(128), 0, stream, heads_of<Bf16>(a.o),
           a.lse.device_data<float>(), partials, work.next, table_of(a.segments), work.listing, sizes);
  });
}

}  // namespace ov::kernels::OV_CUDA
