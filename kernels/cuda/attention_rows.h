// What the attention kernels of this folder share: where a head's rows lie, what a query sees, the list of their work.
//
// The list. A block of an attention kernel works on a piece: some neighbouring queries (or keys, or a span of the keys
// of a few queries) of one row of the segment table, for one head. The table lies on the device, so a small kernel
// lists the pieces there, once a call. Blocks beyond the end of the list return at once: a table of S rows over T
// queries has at most T / size + S pieces.
#pragma once
#include "kernels/attention.h"
#include "kernels/cuda/reduce.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {

// x [T,H,D], D contiguous; data is null for what is not there.
template <class T>
struct Heads {
  T* data = nullptr;
  std::int64_t row_stride = 0, head_stride = 0;
  OV_HD T* at(std::int64_t t, std::int64_t head) const { return data + t * row_stride + head * head_stride; }
};

template <class T>
Heads<T> heads_of(const Tensor& x) {
  return {x.device_data<T>(), x.stride(0), x.stride(1)};
}

// A row of the segment table: key j of `keys`, counted from the first of its prefix, lies at row position(j) of k and
// v, and query i sees keys 0 .. limit(i) - 1.
struct TableRow {
  int q_begin, q_length, k_begin, prefix_begin = 0, prefix_length = 0, keys;
  bool causal, branch;  // branch: it has a prefix

  OV_HD TableRow(const SegmentRow* table, int r, bool causal)
      : q_begin(int(table[r].q_begin)),
        q_length(int(table[r].q_length)),
        k_begin(int(table[r].k_begin)),
        causal(causal),
        branch(table[r].prefix >= 0) {
    if (branch) {
      const SegmentRow& prefix = table[table[r].prefix];
      prefix_begin = int(prefix.k_begin), prefix_length = int(prefix.k_length);
    }
    keys = prefix_length + int(table[r].k_length);
  }
  OV_HD int limit(int i) const { return causal ? keys - q_length + i + 1 : keys; }
  OV_HD int first_query(int j) const { return causal && j > keys - q_length ? j - (keys - q_length) : 0; }
  OV_HD int position(int j) const { return j < prefix_length ? prefix_begin + j : k_begin + (j - prefix_length); }
};

inline const SegmentRow* table_of(const Tensor& segments) {
  static_assert(sizeof(SegmentRow) == 5 * sizeof(std::int64_t));
  return reinterpret_cast<const SegmentRow*>(segments.device_data<std::int64_t>());
}

struct Piece {
  int row, first;  // of the table (-1: no piece); the first of its queries, or of its own keys
};

// `size` of what a piece has. Rows without a prefix that have at most `few` queries are listed by spans of their keys,
// and are not in a list of queries.
enum class Listed { queries, keys, spans };
struct Listing {
  Listed of;
  int size, few = 0;
  OV_HD bool by_spans(const SegmentRow& r) const { return r.prefix < 0 && r.q_length > 0 && r.q_length <= few; }
  OV_HD int pieces(const SegmentRow& r) const {
    if (of != Listed::keys && by_spans(r) != (of == Listed::spans)) return 0;
    return (int(of == Listed::queries ? r.q_length : r.k_length) + size - 1) / size;
  }
};

// One thread a row of the table. It adds up the pieces of the rows before it: S is hundreds, its square a few short
// loads a thread, cheaper than the launches of a scan.
//   next[r]  of keys: who else sees those of r: its first branch, or after a branch the next one of the same prefix;
//            -1: none. Of spans: number of the first piece of r
static __global__ void list_work(Piece* pieces, int capacity, int* next, const SegmentRow* table, int S,
                                 Listing listing) {
  const int r = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (r >= S) return;
  int before = 0, after = 0;
  for (int i = 0; i < r; ++i) before += listing.pieces(table[i]);
  const int mine = listing.pieces(table[r]);
  for (int i = 0; i < mine; ++i) pieces[before + i] = {r, i * listing.size};
  for (int i = r + 1; i < S; ++i) after += listing.pieces(table[i]);
  for (int i = before + mine + after + r; i < capacity; i += S) pieces[i] = {-1, 0};
  if (listing.of == Listed::spans) next[r] = before;
  if (listing.of != Listed::keys) return;
  const std::int64_t prefix = table[r].prefix < 0 ? r : table[r].prefix;
  int branch = r + 1;
  while (branch < S && table[branch].prefix != prefix) ++branch;
  next[r] = branch < S ? branch : -1;
}

// Zeros where no row of the table comes: one thread a row of x, which may be a query's or a key's.
template <class T>
__global__ void zero_uncovered(Heads<T> x, Heads<T> also, float* lse, const SegmentRow* table, int S, bool of_keys,
                               int rows, int H, int D) {
  const int t = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (t >= rows) return;
  for (int r = 0; r < S; ++r) {
    const std::int64_t begin = of_keys ? table[r].k_begin : table[r].q_begin;
    if (t >= begin && t < begin + (of_keys ? table[r].k_length : table[r].q_length)) return;
  }
  for (int h = 0; h < H; ++h) {
    for (int d = 0; d < D; ++d) {
      x.at(t, h)[d] = T(0.f);
      if (also.data) also.at(t, h)[d] = T(0.f);
    }
    if (lse) lse[std::int64_t(t) * H + h] = 0;
  }
}

// delta_th = do_th·o_th in the order of base/sum.h: 16 threads a row, a packet each (kernels/cuda/reduce.h).
template <class T>
__global__ void row_dots(float* delta, Heads<T> a, Heads<T> b, int rows, int H, Columns<packet_width<T>> columns) {
  const HalfWarp team;
  const std::int64_t i = std::int64_t(blockIdx.x) * HalfWarp::rows + team.row();
  if (i >= std::int64_t(rows) * H) return;
  const T *x = a.at(i / H, i % H), *y = b.at(i / H, i % H);
  const float sum = row_sum<float>(team, columns, [&](auto width, int p) {
    return each([](float x, float y) { return x * y; }, load<width>(x, p), load<width>(y, p));
  });
  if (team.thread() == 0) delta[i] = sum;
}

// A list on its way, for the host: where its pieces and its numbers of each row of the table will stand.
struct WorkList {
  WorkList(const PieceList& space, const Tensor& segments, Listed of, gpu::Stream stream, int few = 0)
      : listing{of, space.size, few},
        S(space.S),
        count(space.count),
        pieces(reinterpret_cast<Piece*>(space.memory.device_data<std::int32_t>())),
        next(space.memory.device_data<std::int32_t>() + 2 * count) {
    if (S == 0) return;
    launch(list_work, dim3(ceil_div(S, 128)), dim3(128), 0, stream, pieces, count, next, table_of(segments), S,
           listing);
  }

  Listing listing;
  int S, count;
  Piece* pieces;
  int* next;
};

template <class T>
void clear_uncovered(const Tensor& x, const Tensor& also, const Tensor& lse, const Tensor& segments, bool of_keys,
                     gpu::Stream stream) {
  const std::int64_t rows = x.dim(0);
  launch(zero_uncovered<T>, dim3(ceil_div(rows, 128)), dim3(128), 0, stream, heads_of<T>(x),
         also ? heads_of<T>(also) : Heads<T>{}, lse ? lse.device_data<float>() : nullptr, table_of(segments),
         int(segments.dim(0)), of_keys, int(rows), int(x.dim(1)), int(x.dim(2)));
}

template <class T>
const float* deltas(const Tensor& delta, const AttentionBackward& a, gpu::Stream stream) {
  const auto [queries, H, D] = a.o.dims<3>();
  launch(row_dots<T>, dim3(ceil_div(queries * H, HalfWarp::rows)), dim3(max_row_threads), 0, stream,
         delta.device_data<float>(), heads_of<T>(a.o), heads_of<T>(a.d_o), int(queries), int(H),
         columns_of<packet_width<T>>(D, rows_of<T>(a.o), rows_of<T>(a.d_o)));
  return delta.device_data<float>();
}

// The kernels for any width, and those on tensor cores for what fits them.
void plain_attention_forward(const AttentionForward&, const AttentionForwardScratch&, gpu::Stream);
void plain_attention_backward(const AttentionBackward&, const AttentionBackwardScratch&, gpu::Stream);
void tensor_core_attention_forward(const AttentionForward&, const AttentionForwardScratch&, gpu::Stream);
void tensor_core_attention_backward(const AttentionBackward&, const AttentionBackwardScratch&, gpu::Stream);

}  // namespace ov::kernels::OV_CUDA
