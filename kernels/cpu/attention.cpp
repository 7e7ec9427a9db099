#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "base/math.h"
#include "base/sum.h"
#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/largest.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/cpu/widened.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t block = attention_block;  // keys
constexpr std::int64_t tile = 64;                // queries; no effect on the forward bits

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// Of a thread, for one call. Nothing is cleared.
template <class T>
class Scratch {
 public:
  Scratch(std::int64_t D, std::int64_t rows)
      : key_columns(D),
        value_columns(D),
        seen(static_cast<std::size_t>(rows)),
        memory_(2 * rows * (block + D + 3) + 4 * block * D) {
    T* at = memory_.data();
    const auto take = [&](std::int64_t n) { return std::exchange(at, at + n); };
    s = take(rows * block), ds = take(rows * block);
    k = take(block * D), v = take(block * D), dk = take(block * D), dv = take(block * D);
    q = take(rows * D), o = take(rows * D), top = take(rows), total = take(rows), shrink = take(rows);
  }
  T *s, *ds, *k, *v, *dk, *dv, *q, *o, *top, *total, *shrink;
  KeyColumns<T> key_columns, value_columns;
  std::vector<std::int32_t> seen;

 private:
  Lines<T> memory_;
};

// The query heads of one key head see the same keys, so their rows are worked on together: row r is query r / group of
// head r % group. So many queries at a time:
std::int64_t queries_at_once(std::int64_t group) { return std::max<std::int64_t>(1, tile / group); }

// Row r of w.s holds n products, of which the first visible(r) count: they become exponentials, the others 0, and the
// row's maximum and sum go on. w.shrink is what the sums before lose by the new maximum. One pass after another over
// all rows: a row alone is a chain of operations that wait for each other.
template <class T, class Visible>
void softmax_block(std::int64_t rows, std::int64_t n, T scale, Visible&& visible, Scratch<T>& w) {
  T* __restrict top = w.top, * __restrict total = w.total, * __restrict shrink = w.shrink;
  // By sixteen: beyond what is visible -inf, whose exponential is 0, and zeros at the end do not change a sum.
  const auto row = [&](std::int64_t r) { return w.s + r * block; };
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const std::int64_t seen = std::clamp<std::int64_t>(visible(r), 0, n), end = round_up(seen, 16);
    w.seen[r] = static_cast<std::int32_t>(end);
    by_sixteen(end, [&](std::int64_t j) { s[j] *= scale; });
    std::fill(s + seen, s + end, -std::numeric_limits<T>::infinity());
    shrink[r] = top[r];
    top[r] = largest(end, s, top[r]);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const T most = top[r];
    by_sixteen(w.seen[r], [&](std::int64_t j) { s[j] = math::exp(s[j] - most); });
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const T e = math::exp(shrink[r] - top[r]);
    shrink[r] = w.seen[r] > 0 ? e : T(1);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    T* s = row(r);
    const std::int64_t end = w.seen[r];
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
    for (std::int64_t i = 0; i < m; ++i) copy_row(D, w.q + (i * group + g) * D, q.row(t0 + i));
  }
  std::fill_n(w.o, rows * D, T(0));
  std::fill_n(w.top, rows, -std::numeric_limits<T>::infinity());
  std::fill_n(w.total, rows, T(0));
  const std::int64_t end = keys.limit(first_query + m - 1);
  for (std::int64_t j0 = 0; j0 < end; j0 += block) {
    const std::int64_t n = std::min(block, end - j0);
    const HeadRows<T> kb = key_block(keys, k, j0, n, D, w.k), vb = key_block(keys, v, j0, n, D, w.v);
    if (rows < tile_rows) {
      gemm_serial(rows, n, D, w.q, D, one, kb.data, one, kb.stride, w.s, block, false);
    } else {
      const T* columns = w.key_columns.block(j0 / block, kb, n, kb.data == w.k);
      gemm_serial(rows, round_up(n, Lanes<T>::width), D, w.q, D, one, columns, block, one, w.s, block, false);
    }
    softmax_block(
        rows, n, scale, [&](std::int64_t r) { return keys.limit(first_query + r / group) - j0; }, w);
    for (std::int64_t r = 0; r < rows; ++r) {
      T* out = w.o + r * D;
      const T shrink = w.shrink[r];
      if (j0 > 0)
        for (std::int64_t d = 0; d < D; ++d) out[d] *= shrink;
      round_probabilities<T, P>(w.s + r * block, n);
    }
    gemm_serial(rows, D, n, w.s, block, one, vb.data, vb.stride, one, w.o, D, true);
  }
  for (std::int64_t r = 0; r < rows; ++r) w.shrink[r] = w.top[r] + math::log(w.total[r]);
  for (std::int64_t g = 0; g < group; ++g) {
    const std::int64_t head = kv_head * group + g;
    const HeadRows<T> o(a.o, head);
    for (std::int64_t i = 0; i < m; ++i) {
      const std::int64_t r = i * group + g;
      const T total = w.total[r], *from = w.o + r * D;
      with_width(D, [&](std::int64_t D) { divide_row(D, o.row(t0 + i), from, total); });
      a.lse.device_row<T>(t0 + i)[head] = w.shrink[r];
    }
  }
}

// Whether the table's rows own all queries (keys): nobody else clears those that are of no row.
bool covers(const Tensor& segments, std::int64_t SegmentRow::*length, std::int64_t all) {
  std::int64_t covered = 0;
  for (const SegmentRow& r : rows_of(segments)) covered += r.*length;
  return covered == all;
}

template <class T, class P = T>
void forward(const AttentionForward& a) {
  if (!covers(a.segments, &SegmentRow::q_length, a.q.dim(0)))
    fill({.y = a.o, .value = 0}), fill({.y = a.lse, .value = 0});
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
  wide_ranges(n * K, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(a.q.dim(2), group * queries_at_once(group));
    for (std::int64_t i = begin; i < end; ++i) {
      const Task& task = tasks[static_cast<std::size_t>(i % n)];
      forward_tile<T, P>(a, VisibleKeys(table, *task.row, a.causal), task.first_query, i / n, scratch);
    }
  });
}

// The gradient of one query tile through one key block: adds to w.dk and w.dv (the block) and to dq. A block that the
// diagonal cuts is worked on in strips of rows, without most of what nobody sees there: zeros, which add nothing to
// sums that begin with zero.
template <class T, class P>
void backward_tile(const AttentionBackward& a, const VisibleKeys& keys, std::int64_t first_query, std::int64_t head,
                   std::int64_t j0, std::int64_t n, const HeadRows<T>& kb, const T* k_columns, const T* v_columns,
                   const T* delta, Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), m = std::min(tile, keys.row.q_length - first_query),
                     t0 = keys.row.q_begin + first_query;
  const HeadRows<T> q(a.q, head), d_o(a.d_o, head), dq(a.dq, head);
  const std::int64_t one = 1;
  const T scale = T(a.scale);
  const auto visible = [&](std::int64_t i) { return std::clamp<std::int64_t>(keys.limit(first_query + i) - j0, 0, n); };
  const auto strips = [strip = visible(0) < n ? 2 * wide_rows : block](std::int64_t rows, auto&& f) {
    for (std::int64_t r = 0; r < rows; r += strip) f(r, std::min(strip, rows - r));
  };

  strips(m, [&](std::int64_t i, std::int64_t rows) {
    const std::int64_t seen = round_up(visible(i + rows - 1), 16);
    gemm_serial(rows, seen, D, q.row(t0 + i), q.stride, one, k_columns, block, one, w.s + i * block, block, false);
    gemm_serial(rows, seen, D, d_o.row(t0 + i), d_o.stride, one, v_columns, block, one, w.ds + i * block, block, false);
  });
  for (std::int64_t i = 0; i < m; ++i) {
    T* __restrict p = w.s + i * block, * __restrict ds = w.ds + i * block;
    const std::int64_t seen = visible(i), end = round_up(seen, 16);
    const T lse = a.lse.device_row<T>(t0 + i)[head], di = delta[first_query + i];
    by_sixteen(end, [&](std::int64_t j) {
      p[j] = math::exp(p[j] * scale - lse);
      ds[j] = p[j] * (ds[j] - di) * scale;
    });
    round_probabilities<T, P>(p, seen);
    std::fill(p + seen, p + std::max(n, end), T(0));
    std::fill(ds + seen, ds + std::max(n, end), T(0));
  }
  strips(n, [&](std::int64_t j, std::int64_t rows) {  // the first queries do not see these keys
    const std::int64_t i = std::clamp<std::int64_t>(keys.first_query(j0 + j) - first_query, 0, m);
    gemm_serial(rows, D, m - i, w.s + i * block + j, one, block, d_o.row(t0 + i), d_o.stride, one, w.dv + j * D, D,
                true);
    gemm_serial(rows, D, m - i, w.ds + i * block + j, one, block, q.row(t0 + i), q.stride, one, w.dk + j * D, D, true);
  });
  strips(m, [&](std::int64_t i, std::int64_t rows) {
    gemm_serial(rows, D, visible(i + rows - 1), w.ds + i * block, block, one, kb.data, kb.stride, one, dq.row(t0 + i),
                dq.stride, true);
  });
}

// All gradients of one row of the table through one key head, added in a fixed order: key blocks, then query heads,
// then tiles. Clears the gradients of its own queries and keys first, where they are needed next.
template <class T, class P>
void backward_row(const AttentionBackward& a, const VisibleKeys& keys, std::int64_t kv_head, Scratch<T>& w) {
  const std::int64_t D = a.q.dim(2), group = a.q.dim(1) / a.k.dim(1), queries = keys.row.q_length;
  const HeadRows<T> k(a.k, kv_head), v(a.v, kv_head), dk(a.dk, kv_head), dv(a.dv, kv_head);

  std::vector<T> delta(static_cast<std::size_t>(group * queries));
  for (std::int64_t g = 0; g < group; ++g) {
    const HeadRows<T> o(a.o, kv_head * group + g), d_o(a.d_o, kv_head * group + g), dq(a.dq, kv_head * group + g);
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t t = keys.row.q_begin + i;
      delta[static_cast<std::size_t>(g * queries + i)] = dot<T>(D, o.row(t), d_o.row(t));
      clear_row(D, dq.row(t));
    }
  }
  for (std::int64_t j = 0; j < keys.row.k_length; ++j) {
    clear_row(D, dk.row(keys.row.k_begin + j));
    clear_row(D, dv.row(keys.row.k_begin + j));
  }
  for (std::int64_t j0 = 0; j0 < keys.total && queries > 0; j0 += block) {
    const std::int64_t n = std::min(block, keys.total - j0);
    const HeadRows<T> kb = key_block(keys, k, j0, n, D, w.k), vb = key_block(keys, v, j0, n, D, w.v);
    const T* k_columns = w.key_columns.block(j0 / block, kb, n, kb.data == w.k);
    const T* v_columns = w.value_columns.block(j0 / block, vb, n, vb.data == w.v);
    std::fill_n(w.dk, n * D, T(0));
    std::fill_n(w.dv, n * D, T(0));
    for (std::int64_t g = 0; g < group; ++g)
      for (std::int64_t i = keys.first_query(j0) / tile * tile; i < queries; i += tile)
        backward_tile<T, P>(a, keys, i, kv_head * group + g, j0, n, kb, k_columns, v_columns,
                            &delta[static_cast<std::size_t>(g * queries)], w);
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int64_t at = keys.position(j0 + j);
      with_width(D,
                 [&](std::int64_t D) { add_row(D, dk.row(at), w.dk + j * D), add_row(D, dv.row(at), w.dv + j * D); });
    }
  }
}

// A prefix and its branches write to the same keys, so one task takes them all, for one key head.
template <class T, class P = T>
void backward(const AttentionBackward& a) {
  if (!covers(a.segments, &SegmentRow::q_length, a.q.dim(0))) fill({.y = a.dq, .value = 0});
  if (!covers(a.segments, &SegmentRow::k_length, a.k.dim(0)))
    fill({.y = a.dk, .value = 0}), fill({.y = a.dv, .value = 0});
  const auto table = rows_of(a.segments);
  std::vector<std::vector<const SegmentRow*>> families(table.size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    const SegmentRow& r = table[i];
    families[r.prefix < 0 ? i : static_cast<std::size_t>(r.prefix)].push_back(&r);
  }
  const std::int64_t K = a.k.dim(1);
  wide_ranges(static_cast<std::int64_t>(families.size()) * K, 1, [&](std::int64_t begin, std::int64_t end) {
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
