// What the attention kernels on tensor cores share: a warp's 16 rows, one step of 64 keys of their softmax, and how
// spans of keys are put together.
//
// Spans. With causality a row's keys are walked in spans of 512, counted from its first one; without it, as in the
// tower, all of them are one span. Each span begins with nothing, and what it ends with, the largest score m, the sum
// of exponentials l and the output o relative to m, is added to the spans before it:
//
//   m' = max(m, m_span),  l' = l e^(m - m') + l_span e^(m_span - m'),  o' likewise             at the end: o' / l'
//
//   keys     0 ........ 511 512 ...... 1023 1024 .... 1300      a row that sees 1300 keys
//   spans   |  walk, m l o |  walk, m l o  |  walk, m l o |
//                     0 + -----> + -------------> + ------> o   in this order
//
// Whoever walks a span, one block after the other (attention_tensor_cores.cu) or a block each (attention_spans.cu), it
// is the same arithmetic: so a token that is written has the bits that it has in a prompt, in a chunk or in training.
// 512 is part of the numerics, as 64 is: a span's length that depends on the GPU or the batch would show in the bits.
#pragma once
#include <numbers>

#include "kernels/cuda/attention_rows.h"
#include "kernels/cuda/tensor_tile.h"

namespace ov::kernels::OV_CUDA {

constexpr int step = 64;  // keys; span_keys is 512
static_assert(step == attention_block && span_keys % step == 0);

struct AttentionSizes {
  int H, group;       // query heads; of them on one key head
  float scale, log2;  // scale log2 e
  bool causal;
};

template <class Args>
AttentionSizes sizes_of(const Args& a) {
  return {int(a.q.dim(1)), int(a.q.dim(1) / a.k.dim(1)), float(a.scale), float(a.scale * std::numbers::log2e),
          a.causal};
}

// The rows of a tile: row i is query first + i / group of the table's row, head head0 + i % group.
struct PackedRows {
  int q_begin, first, head0, group;
  __device__ std::int64_t query(int i) const { return q_begin + first + i / group; }
  __device__ int head(int i) const { return head0 + i % group; }
  __device__ Bf16* of(const Heads<Bf16>& x, int i) const { return x.at(query(i), head(i)); }
};

// What a lane has of its warp's 16 rows: rows g and g + 8, columns 2q and 2q + 1 of every tile of 8.
struct Lane {
  int row[2], column;
  __device__ explicit Lane(int first_row) {
    const int lane = threadIdx.x % 32;
    row[0] = first_row + lane / 4, row[1] = row[0] + 8, column = lane % 4 * 2;
  }
};

// Writes half h of the warp's rows of a result, times a factor: 4 bytes a lane and tile.
template <int N>
__device__ void write_row(Bf16* to, const float (&acc)[N][4], int h, int column, float factor) {
  UNROLL
  for (int n = 0; n < N; ++n)
    *reinterpret_cast<unsigned*>(to + 8 * n + column) = ptx::pack(acc[n][2 * h] * factor, acc[n][2 * h + 1] * factor);
}

// Keys that a row does not see count as -inf: `visible` is how many it sees from column 0 of s on.
template <int N>
__device__ void hide(float (&s)[N][4], const Lane& my, int visible_0, int visible_1) {
  UNROLL
  for (int n = 0; n < N; ++n)
    for (int e = 0; e < 4; ++e)
      if (8 * n + my.column + e % 2 >= (e / 2 ? visible_1 : visible_0)) s[n][e] = -INFINITY;
}

// Scores become p, relative to the row's largest score so far, and what was there before shrinks to that. A lane adds
// up its own keys in total.
template <int N, int M>
__device__ void softmax_step(float (&s)[N][4], float (&out)[M][4], float (&top)[2], float (&total)[2], float log2) {
  UNROLL
  for (int h = 0; h < 2; ++h) {
    float most = top[h];
    for (int n = 0; n < N; ++n)
      for (int e = 2 * h; e < 2 * h + 2; ++e) most = s[n][e] > most ? s[n][e] : most;
    for (int other = 1; other <= 2; other *= 2) {
      const float theirs = __shfl_xor_sync(0xffffffffu, most, other);
      most = theirs > most ? theirs : most;
    }
    const float base = most == -INFINITY ? 0.f : most * log2;  // -inf - -inf would be NaN
    const float shrink = ptx::exp2(top[h] * log2 - base);
    top[h] = most, total[h] *= shrink;
    for (int n = 0; n < N; ++n)
      for (int e = 2 * h; e < 2 * h + 2; ++e) {
        s[n][e] = ptx::exp2(std::fma(s[n][e], log2, -base));
        total[h] += s[n][e];
      }
    for (int n = 0; n < M; ++n) out[n][2 * h] *= shrink, out[n][2 * h + 1] *= shrink;
  }
}

// The sum over the four lanes of a row.
__device__ inline float of_row(float total) {
  for (int other = 1; other <= 2; other *= 2) total += __shfl_xor_sync(0xffffffffu, total, other);
  return total;
}

// A row's spans so far, to which the next one is added: `of_old` and `of_new` are what both outputs are multiplied by.
struct Spans {
  float top = -INFINITY, total = 0, of_old = 0, of_new = 0;
  __device__ void add(float span_top, float span_total, float log2) {
    const float most = span_top > top ? span_top : top;
    const float base = most == -INFINITY ? 0.f : most * log2;
    of_old = ptx::exp2(top * log2 - base), of_new = ptx::exp2(span_top * log2 - base);
    top = most, total = total * of_old + span_total * of_new;
  }
  __device__ float joined(float old_out, float span_out) const { return old_out * of_old + span_out * of_new; }
};

// Calls f with the head width as a constant.
template <class F>
void by_width(std::int64_t D, F&& f) {
  if (D == 16) f(std::integral_constant<int, 16>{});
  if (D == 32) f(std::integral_constant<int, 32>{});
  if (D == 64) f(std::integral_constant<int, 64>{});
  if (D == 128) f(std::integral_constant<int, 128>{});
}

// attention_spans.cu: rows of the table that have a cache and few queries. The others are left to the tiles.
void attention_by_spans(const AttentionForward&, const AttentionForwardScratch&, gpu::Stream);

}  // namespace ov::kernels::OV_CUDA
