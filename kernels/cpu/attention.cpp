#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/gemm.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t block = attention_block;  // keys
constexpr std::int64_t tile = 64;                // queries; no effect on the forward bits

template <class T>
struct Scratch {
  explicit Scratch(std::int64_t D)
      : s(tile * block),
        ds(tile * block),
        k(block * D),
        v(block * D),
        dk(block * D),
        dv(block * D),
        o(tile * D),
        top(tile),
        total(tile) {}
  std::vector<T> s, ds, k, v, dk, dv, o, top, total;
};

// The largest of n numbers and `start`, in 8 lanes so that it vectorises; a NaN among them is passed over, as by one
// lane.
template <class T>
T largest(const T* x, std::int64_t n, T start) {
  constexpr std::int64_t lanes = 8;
  T lane[lanes];
  std::fill_n(lane, lanes, start);
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t k = 0; k < lanes; ++k) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
  for (std::int64_t k = 0; i + k < n; ++k) lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
  return *std::max_element(lane, lane + lanes);
}

// One query tile of one head: softmax over the key blocks, with the running maximum and sum of every query.
template <class T>
void forward_tile(const AttentionForward& a, const VisibleKeys& keys, std::int64_t first_query, std::int64_t head,
                  Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), H = a.q.dim(1), kv_head = head / (H / a.k.dim(1));
  const std::int64_t m = std::min(tile, keys.row.q_length - first_query), t0 = keys.row.q_begin + first_query;
  const HeadRows<T> q(a.q, head), k(a.k, kv_head), v(a.v, kv_head), o(a.o, head);
  const T scale = T(a.scale);

  std::fill_n(w.o.begin(), m * D, T(0));
  std::fill_n(w.top.begin(), m, -std::numeric_limits<T>::infinity());
  std::fill_n(w.total.begin(), m, T(0));
  const std::int64_t end = keys.limit(first_query + m - 1);
  for (std::int64_t j0 = 0; j0 < end; j0 += block) {
    const std::int64_t n = std::min(block, end - j0);
    const HeadRows<T> kb = key_block(keys, k, j0, n, D, w.k.data()), vb = key_block(keys, v, j0, n, D, w.v.data());
    gemm_serial(m, n, D, q.row(t0), q.stride, std::int64_t{1}, kb.data, std::int64_t{1}, kb.stride, w.s.data(), block,
                false);
    for (std::int64_t i = 0; i < m; ++i) {
      T* s = &w.s[static_cast<std::size_t>(i * block)];
      const std::int64_t visible = std::min(n, keys.limit(first_query + i) - j0);
      if (visible <= 0) {
        std::fill_n(s, n, T(0));
        continue;
      }
      for (std::int64_t j = 0; j < visible; ++j) s[j] *= scale;
      const T top = largest(s, visible, w.top[static_cast<std::size_t>(i)]);
      for (std::int64_t j = 0; j < visible; ++j) s[j] = math::exp(s[j] - top);
      std::fill(s + visible, s + n, T(0));
      const T shrink = math::exp(w.top[static_cast<std::size_t>(i)] - top);
      w.total[static_cast<std::size_t>(i)] =
          w.total[static_cast<std::size_t>(i)] * shrink + sum<T>(visible, [&](std::int64_t j) { return s[j]; });
      w.top[static_cast<std::size_t>(i)] = top;
      T* out = &w.o[static_cast<std::size_t>(i * D)];
      for (std::int64_t d = 0; d < D; ++d) out[d] *= shrink;
    }
    gemm_serial(m, D, n, w.s.data(), block, std::int64_t{1}, vb.data, vb.stride, std::int64_t{1}, w.o.data(), D, true);
  }
  for (std::int64_t i = 0; i < m; ++i) {
    const T total = w.total[static_cast<std::size_t>(i)], *from = &w.o[static_cast<std::size_t>(i * D)];
    T* to = o.row(t0 + i);
    for (std::int64_t d = 0; d < D; ++d) to[d] = from[d] / total;
    a.lse.row<T>(t0 + i)[head] = w.top[static_cast<std::size_t>(i)] + math::log(total);
  }
}

template <class T>
void zero_rows(const Tensor& x) {
  const auto [N, C] = x.dims<2>();
  const Rows<T> rows(x);
  for (std::int64_t n = 0; n < N; ++n) std::fill_n(rows[n], C, T(0));
}

bool covers_all_queries(const AttentionForward& a) {
  std::int64_t covered = 0;
  for (const SegmentRow& r : *a.segments) covered += r.q_length;
  return covered == a.q.dim(0);
}

template <class T>
void forward(const AttentionForward& a) {
  if (!covers_all_queries(a)) zero_rows<T>(a.o), zero_rows<T>(a.lse);
  struct Task {
    const SegmentRow* row;
    std::int64_t first_query;
  };
  std::vector<Task> tasks;
  for (const SegmentRow& r : *a.segments)
    for (std::int64_t i = 0; i < r.q_length; i += tile) tasks.push_back({&r, i});

  const std::int64_t H = a.q.dim(1);
  parallel_ranges(static_cast<std::int64_t>(tasks.size()) * H, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(a.q.dim(2));
    for (std::int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<std::size_t>(i / H)];
      forward_tile<T>(a, VisibleKeys(*a.segments, *task.row, a.causal), task.first_query, i % H, scratch);
    }
  });
}

// The gradient of one query tile through one key block: adds to w.dk and w.dv (the block) and to dq.
template <class T>
void backward_tile(const AttentionBackward& a, const VisibleKeys& keys, std::int64_t first_query, std::int64_t head,
                   std::int64_t j0, std::int64_t n, const HeadRows<T>& kb, const HeadRows<T>& vb, const T* delta,
                   Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), m = std::min(tile, keys.row.q_length - first_query),
                     t0 = keys.row.q_begin + first_query;
  const HeadRows<T> q(a.q, head), d_o(a.d_o, head), dq(a.dq, head);
  const std::int64_t one = 1;
  const T scale = T(a.scale);

  gemm_serial(m, n, D, q.row(t0), q.stride, one, kb.data, one, kb.stride, w.s.data(), block, false);
  gemm_serial(m, n, D, d_o.row(t0), d_o.stride, one, vb.data, one, vb.stride, w.ds.data(), block, false);
  for (std::int64_t i = 0; i < m; ++i) {
    T *p = &w.s[static_cast<std::size_t>(i * block)], *ds = &w.ds[static_cast<std::size_t>(i * block)];
    const std::int64_t visible = std::clamp<std::int64_t>(keys.limit(first_query + i) - j0, 0, n);
    const T lse = a.lse.row<T>(t0 + i)[head], di = delta[first_query + i];
    for (std::int64_t j = 0; j < visible; ++j) p[j] = math::exp(p[j] * scale - lse);
    for (std::int64_t j = 0; j < visible; ++j) ds[j] = p[j] * (ds[j] - di) * scale;
    std::fill(p + visible, p + n, T(0));
    std::fill(ds + visible, ds + n, T(0));
  }
  gemm_serial(n, D, m, w.s.data(), one, block, d_o.row(t0), d_o.stride, one, w.dv.data(), D, true);
  gemm_serial(n, D, m, w.ds.data(), one, block, q.row(t0), q.stride, one, w.dk.data(), D, true);
  gemm_serial(m, D, n, w.ds.data(), block, one, kb.data, kb.stride, one, dq.row(t0), dq.stride, true);
}

// All gradients of one row of the table through one key head, added in a fixed order: key blocks, then query heads,
// then tiles.
template <class T>
void backward_row(const AttentionBackward& a, const VisibleKeys& keys, std::int64_t kv_head, Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), group = a.q.dim(1) / a.k.dim(1), queries = keys.row.q_length;
  const HeadRows<T> k(a.k, kv_head), v(a.v, kv_head), dk(a.dk, kv_head), dv(a.dv, kv_head);

  std::vector<T> delta(static_cast<std::size_t>(group * queries));
  for (std::int64_t g = 0; g < group; ++g) {
    const HeadRows<T> o(a.o, kv_head * group + g), d_o(a.d_o, kv_head * group + g);
    for (std::int64_t i = 0; i < queries; ++i)
      delta[static_cast<std::size_t>(g * queries + i)] =
          dot<T>(D, o.row(keys.row.q_begin + i), d_o.row(keys.row.q_begin + i));
  }
  for (std::int64_t j0 = 0; j0 < keys.total && queries > 0; j0 += block) {
    const std::int64_t n = std::min(block, keys.total - j0);
    const HeadRows<T> kb = key_block(keys, k, j0, n, D, w.k.data()), vb = key_block(keys, v, j0, n, D, w.v.data());
    std::fill_n(w.dk.begin(), n * D, T(0));
    std::fill_n(w.dv.begin(), n * D, T(0));
    for (std::int64_t g = 0; g < group; ++g)
      for (std::int64_t i = keys.first_query(j0) / tile * tile; i < queries; i += tile)
        backward_tile(a, keys, i, kv_head * group + g, j0, n, kb, vb, &delta[static_cast<std::size_t>(g * queries)], w);
    for (std::int64_t j = 0; j < n; ++j) {
      T *to_k = dk.row(keys.position(j0 + j)), *to_v = dv.row(keys.position(j0 + j));
      for (std::int64_t d = 0; d < D; ++d) to_k[d] += w.dk[static_cast<std::size_t>(j * D + d)];
      for (std::int64_t d = 0; d < D; ++d) to_v[d] += w.dv[static_cast<std::size_t>(j * D + d)];
    }
  }
}

// A prefix and its branches write to the same keys, so one task takes them all, for one key head.
template <class T>
void backward(const AttentionBackward& a) {
  zero_rows<T>(a.dq), zero_rows<T>(a.dk), zero_rows<T>(a.dv);
  std::vector<std::vector<const SegmentRow*>> families(a.segments->size());
  for (std::size_t i = 0; i < a.segments->size(); ++i) {
    const SegmentRow& r = (*a.segments)[i];
    families[r.prefix < 0 ? i : static_cast<std::size_t>(r.prefix)].push_back(&r);
  }
  const std::int64_t K = a.k.dim(1);
  parallel_ranges(static_cast<std::int64_t>(families.size()) * K, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(a.q.dim(2));
    for (std::int64_t i = begin; i < end; ++i)
      for (const SegmentRow* r : families[static_cast<std::size_t>(i / K)])
        backward_row<T>(a, VisibleKeys(*a.segments, *r, a.causal), i % K, scratch);
  });
}

}  // namespace

void attention_forward(const AttentionForward& a) {
  by_dtype(a.q.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void attention_backward(const AttentionBackward& a) {
  by_dtype(a.q.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
