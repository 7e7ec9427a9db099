#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/widened.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t block = attention_block;  // keys
constexpr std::int64_t tile = 64;                // queries; no effect on the forward bits

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

template <class T>
struct Scratch {
  Scratch(std::int64_t D, std::int64_t rows)
      : s(rows * block),
        ds(rows * block),
        k(block * D),
        v(block * D),
        dk(block * D),
        dv(block * D),
        q(rows * D),
        o(rows * D),
        top(rows),
        total(rows),
        shrink(rows),
        key_columns(D),
        value_columns(D) {}
  std::vector<T> s, ds, k, v, dk, dv, q, o, top, total, shrink;
  KeyColumns<T> key_columns, value_columns;
};

// The largest of n numbers, n a multiple of 16, and `start`; a NaN among them is passed over.
template <class T>
T largest(const T* x, std::int64_t n, T start) {
  using L = Lanes<T>;
  L most = L::broadcast(&start);
  for (std::int64_t i = 0; i < n; i += L::width) most = L::load(x + i).larger(most);
  T lane[L::width];
  most.store(lane);
  for (std::int64_t step = L::width / 2; step; step /= 2)
    for (std::int64_t k = 0; k < step; ++k) lane[k] = lane[k] > lane[k + step] ? lane[k] : lane[k + step];
  return lane[0];
}

// The query heads of one key head see the same keys, so their rows are worked on together: row r is query r / group of
// head r % group. So many queries at a time:
std::int64_t queries_at_once(std::int64_t group) { return std::max<std::int64_t>(1, tile / group); }

// Row r of w.s holds n products, of which the first visible(r) count: they become exponentials, the others 0, and the
// row's maximum and sum go on. w.shrink is what the sums before lose by the new maximum. One pass after another over
// all rows: a row alone is a chain of operations that wait for each other.
template <class T, class Visible>
void softmax_block(std::int64_t rows, std::int64_t n, T scale, Visible&& visible, Scratch<T>& w) {
  T *top = w.top.data(), *total = w.total.data(), *shrink = w.shrink.data();
  // Whole vectors: beyond what is visible -inf, whose exponential is 0, and zeros at the end do not change a sum.
  const auto row = [&](std::int64_t r) { return w.s.data() + r * block; };
  const auto whole = [&](std::int64_t r) { return round_up(std::clamp<std::int64_t>(visible(r), 0, n), 16); };
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const std::int64_t end = whole(r);
    for (std::int64_t j = 0; j < end; ++j) s[j] *= scale;
    std::fill(s + std::clamp<std::int64_t>(visible(r), 0, n), s + end, -std::numeric_limits<T>::infinity());
    shrink[r] = top[r];
    top[r] = largest(s, end, top[r]);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const std::int64_t end = whole(r);
    const T most = top[r];
    for (std::int64_t j = 0; j < end; ++j) s[j] = math::exp(s[j] - most);
  }
  for (std::int64_t r = 0; r < rows; ++r) shrink[r] = whole(r) > 0 ? math::exp(shrink[r] - top[r]) : T(1);
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const std::int64_t end = whole(r);
    total[r] = total[r] * shrink[r] + sum<T>(end, [&](std::int64_t j) { return s[j]; });
    std::fill(s + end, s + std::max(n, end), T(0));
  }
}

// Rounds probabilities to P where they enter the second product; their sum keeps all digits.
template <class T, class P>
void round_probabilities(T* p, std::int64_t n) {
  if constexpr (!std::is_same_v<T, P>)
    for (std::int64_t j = 0; j < n; ++j) p[j] = T(P(p[j]));
}

// One query tile of one key head: softmax over the key blocks, with the running maximum and sum of every row.
template <class T, class P>
void forward_tile(const AttentionForward& a, const VisibleKeys& keys, std::int64_t first_query, std::int64_t kv_head,
                  Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), group = a.q.dim(1) / a.k.dim(1), t0 = keys.row.q_begin + first_query;
  const std::int64_t m = std::min(queries_at_once(group), keys.row.q_length - first_query), rows = m * group;
  const HeadRows<T> k(a.k, kv_head), v(a.v, kv_head);
  const std::int64_t one = 1;
  const T scale = T(a.scale);

  for (std::int64_t g = 0; g < group; ++g) {
    const HeadRows<T> q(a.q, kv_head * group + g);
    for (std::int64_t i = 0; i < m; ++i) std::copy_n(q.row(t0 + i), D, w.q.data() + (i * group + g) * D);
  }
  std::fill_n(w.o.begin(), rows * D, T(0));
  std::fill_n(w.top.begin(), rows, -std::numeric_limits<T>::infinity());
  std::fill_n(w.total.begin(), rows, T(0));
  const std::int64_t end = keys.limit(first_query + m - 1);
  for (std::int64_t j0 = 0; j0 < end; j0 += block) {
    const std::int64_t n = std::min(block, end - j0);
    const HeadRows<T> kb = key_block(keys, k, j0, n, D, w.k.data()), vb = key_block(keys, v, j0, n, D, w.v.data());
    if (rows < tile_rows) {
      gemm_serial(rows, n, D, w.q.data(), D, one, kb.data, one, kb.stride, w.s.data(), block, false);
    } else {
      const T* columns = w.key_columns.block(j0 / block, kb, n, kb.data == w.k.data());
      gemm_serial(rows, round_up(n, Lanes<T>::width), D, w.q.data(), D, one, columns, block, one, w.s.data(), block,
                  false);
    }
    softmax_block(
        rows, n, scale, [&](std::int64_t r) { return keys.limit(first_query + r / group) - j0; }, w);
    for (std::int64_t r = 0; r < rows; ++r) {
      T* out = &w.o[static_cast<std::size_t>(r * D)];
      for (std::int64_t d = 0; d < D; ++d) out[d] *= w.shrink[static_cast<std::size_t>(r)];
      round_probabilities<T, P>(w.s.data() + r * block, n);
    }
    gemm_serial(rows, D, n, w.s.data(), block, one, vb.data, vb.stride, one, w.o.data(), D, true);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t t = t0 + r / group, head = kv_head * group + r % group;
    const T total = w.total[static_cast<std::size_t>(r)], *from = &w.o[static_cast<std::size_t>(r * D)];
    T* to = HeadRows<T>(a.o, head).row(t);
    for (std::int64_t d = 0; d < D; ++d) to[d] = from[d] / total;
    a.lse.device_row<T>(t)[head] = w.top[static_cast<std::size_t>(r)] + math::log(total);
  }
}

bool covers_all_queries(const AttentionForward& a) {
  std::int64_t covered = 0;
  for (const SegmentRow& r : rows_of(a.segments)) covered += r.q_length;
  return covered == a.q.dim(0);
}

template <class T, class P = T>
void forward(const AttentionForward& a) {
  if (!covers_all_queries(a)) fill({.y = a.o, .value = 0}), fill({.y = a.lse, .value = 0});
  struct Task {
    const SegmentRow* row;
    std::int64_t first_query;
  };
  const std::int64_t K = a.k.dim(1), group = a.q.dim(1) / K;
  std::vector<Task> tasks;
  const auto table = rows_of(a.segments);
  for (const SegmentRow& r : table)
    for (std::int64_t i = 0; i < r.q_length; i += queries_at_once(group)) tasks.push_back({&r, i});

  const auto n = static_cast<std::int64_t>(tasks.size());
  parallel_ranges(n * K, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(a.q.dim(2), group * queries_at_once(group));
    for (std::int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<std::size_t>(i % n)];
      forward_tile<T, P>(a, VisibleKeys(table, *task.row, a.causal), task.first_query, i / n, scratch);
    }
  });
}

// The gradient of one query tile through one key block: adds to w.dk and w.dv (the block) and to dq.
template <class T, class P>
void backward_tile(const AttentionBackward& a, const VisibleKeys& keys, std::int64_t first_query, std::int64_t head,
                   std::int64_t j0, std::int64_t n, const HeadRows<T>& kb, const HeadRows<T>& vb, const T* delta,
                   Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), m = std::min(tile, keys.row.q_length - first_query),
                     t0 = keys.row.q_begin + first_query;
  const HeadRows<T> q(a.q, head), d_o(a.d_o, head), dq(a.dq, head);
  const std::int64_t one = 1;
  const T scale = T(a.scale);

  const std::int64_t whole = round_up(n, Lanes<T>::width);
  const T* k_columns = w.key_columns.block(j0 / block, kb, n, kb.data == w.k.data());
  const T* v_columns = w.value_columns.block(j0 / block, vb, n, vb.data == w.v.data());
  gemm_serial(m, whole, D, q.row(t0), q.stride, one, k_columns, block, one, w.s.data(), block, false);
  gemm_serial(m, whole, D, d_o.row(t0), d_o.stride, one, v_columns, block, one, w.ds.data(), block, false);
  for (std::int64_t i = 0; i < m; ++i) {
    T *p = &w.s[static_cast<std::size_t>(i * block)], *ds = &w.ds[static_cast<std::size_t>(i * block)];
    const std::int64_t visible = std::clamp<std::int64_t>(keys.limit(first_query + i) - j0, 0, n);
    const T lse = a.lse.device_row<T>(t0 + i)[head], di = delta[first_query + i];
    const std::int64_t seen = round_up(visible, Lanes<T>::width);  // whole vectors; what is too much is cleared
    for (std::int64_t j = 0; j < seen; ++j) p[j] = math::exp(p[j] * scale - lse);
    for (std::int64_t j = 0; j < seen; ++j) ds[j] = p[j] * (ds[j] - di) * scale;
    round_probabilities<T, P>(p, seen);
    std::fill(p + visible, p + whole, T(0));
    std::fill(ds + visible, ds + whole, T(0));
  }
  gemm_serial(n, D, m, w.s.data(), one, block, d_o.row(t0), d_o.stride, one, w.dv.data(), D, true);
  gemm_serial(n, D, m, w.ds.data(), one, block, q.row(t0), q.stride, one, w.dk.data(), D, true);
  gemm_serial(m, D, n, w.ds.data(), block, one, kb.data, kb.stride, one, dq.row(t0), dq.stride, true);
}

// All gradients of one row of the table through one key head, added in a fixed order: key blocks, then query heads,
// then tiles.
template <class T, class P>
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
        backward_tile<T, P>(a, keys, i, kv_head * group + g, j0, n, kb, vb,
                            &delta[static_cast<std::size_t>(g * queries)], w);
    for (std::int64_t j = 0; j < n; ++j) {
      T *to_k = dk.row(keys.position(j0 + j)), *to_v = dv.row(keys.position(j0 + j));
      for (std::int64_t d = 0; d < D; ++d) to_k[d] += w.dk[static_cast<std::size_t>(j * D + d)];
      for (std::int64_t d = 0; d < D; ++d) to_v[d] += w.dv[static_cast<std::size_t>(j * D + d)];
    }
  }
}

// A prefix and its branches write to the same keys, so one task takes them all, for one key head.
template <class T, class P = T>
void backward(const AttentionBackward& a) {
  for (const Tensor& d : {a.dq, a.dk, a.dv}) fill({.y = d, .value = 0});
  const auto table = rows_of(a.segments);
  std::vector<std::vector<const SegmentRow*>> families(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    const SegmentRow& r = table[i];
    families[r.prefix < 0 ? i : static_cast<std::size_t>(r.prefix)].push_back(&r);
  }
  const std::int64_t K = a.k.dim(1);
  parallel_ranges(static_cast<std::int64_t>(families.size()) * K, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(a.q.dim(2), tile);
    for (std::int64_t i = begin; i < end; ++i)
      for (const SegmentRow* r : families[static_cast<std::size_t>(i / K)])
        backward_row<T, P>(a, VisibleKeys(table, *r, a.causal), i % K, scratch);
  });
}

}  // namespace

void attention_forward(const AttentionForward& a) {
  if (a.q.dtype() == Dtype::f32) return forward<float>(a);
  if (a.q.dtype() == Dtype::f64) return forward<double>(a);
  using T = Bf16;
  AttentionForward wide = a;
  wide.q = widened<T>(a.q), wide.k = widened<T>(a.k), wide.v = widened<T>(a.v), wide.o = widened<T>(a.o, false);
  forward<float, T>(wide);
  copy({.y = a.o, .x = wide.o});
}

void attention_backward(const AttentionBackward& a) {
  if (a.q.dtype() == Dtype::f32) return backward<float>(a);
  if (a.q.dtype() == Dtype::f64) return backward<double>(a);
  using T = Bf16;
  AttentionBackward wide = a;
  wide.q = widened<T>(a.q), wide.k = widened<T>(a.k), wide.v = widened<T>(a.v);
  wide.o = widened<T>(a.o), wide.d_o = widened<T>(a.d_o);
  wide.dq = widened<T>(a.dq, false), wide.dk = widened<T>(a.dk, false), wide.dv = widened<T>(a.dv, false);
  backward<float, T>(wide);
  copy({.y = a.dq, .x = wide.dq}), copy({.y = a.dk, .x = wide.dk}), copy({.y = a.dv, .x = wide.dv});
}

}  // namespace ov::kernels::cpu
