// Products of tensors by those of numbers (gemm.h): types, strides, and bf16, which is widened (widened.h), of large
// matrices piece by piece.
#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_few_rows.h"
#include "kernels/cpu/widened.h"

namespace ov::kernels::cpu {
namespace {

// Elements of a large A or B of bf16 that are in f32 at a time.
constexpr std::int64_t widened_at_once = std::int64_t{2} << 20;

template <class T>
void run(const Gemm& g) {
  const auto [M, N] = g.c.dims<2>();
  const std::int64_t K = g.a.dims<2>()[g.trans_a ? 0 : 1], a = g.a.row_stride(), b = g.b.row_stride();
  gemm_parallel(Product<T>{.M = M,
                           .N = N,
                           .K = K,
                           .a = g.a.device_data<T>(),
                           .a_row = g.trans_a ? 1 : a,
                           .a_col = g.trans_a ? a : 1,
                           .b = g.b.device_data<T>(),
                           .b_row = g.trans_b ? 1 : b,
                           .b_col = g.trans_b ? b : 1,
                           .c = g.c.device_data<T>(),
                           .c_row = g.c.row_stride(),
                           .accumulate = g.accumulate,
                           .bias = g.bias ? g.bias.device_data<T>() : nullptr});
}

// What of a product is in f32 at a time: so many rows of B, and of C.
struct Pieces {
  std::int64_t b_rows, c_rows;
};

// g, of which c is in C, piece by piece. Rows of B are columns of C where B is transposed, else parts of the sum, whole
// blocks of k one after another as in the product at once. So a large matrix has no second copy: a model's head, or the
// gradient of its logits, which is A of the head's gradient.
template <class T, class C>
void run_by_pieces(const Gemm& g, Pieces by) {
  constexpr bool rounds = std::is_same_v<C, T>;
  const std::int64_t M = g.c.dim(0), all = g.b.dim(0);
  const bool parts = by.b_rows < all, sums = parts && !g.trans_b;
  const Tensor bias = widened<T>(g.bias), c = rounds && sums ? widened<T>(g.c, g.accumulate) : g.c;
  const Tensor whole_a = parts && g.trans_b ? widened<T>(g.a) : Tensor();  // every piece of B meets all of it
  for (std::int64_t r = 0; r < all; r += by.b_rows) {
    const std::int64_t end = std::min(r + by.b_rows, all);
    const Tensor b = widened<T>(g.b.slice(0, r, end));
    for (std::int64_t m = 0; m < M; m += by.c_rows) {
      const std::int64_t m_end = std::min(m + by.c_rows, M);
      Gemm piece = g;
      piece.b = b, piece.accumulate = g.accumulate || (sums && r > 0);
      piece.bias = !bias || (sums && end < all) ? Tensor() : parts && g.trans_b ? bias.slice(0, r, end) : bias;
      const Tensor rows = g.a.slice(g.trans_a ? 1 : 0, m, m_end);
      piece.a = whole_a ? whole_a : widened<T>(sums ? rows.slice(g.trans_a ? 0 : 1, r, end) : rows);
      const Tensor part = parts && g.trans_b ? c.slice(0, m, m_end).slice(1, r, end) : c.slice(0, m, m_end);
      piece.c = rounds && !sums ? widened<T>(part, g.accumulate) : part;
      run<Accum<T>>(piece);
      if constexpr (rounds)
        if (!sums) copy({.y = part, .x = piece.c});
    }
  }
  if constexpr (rounds)
    if (sums) copy({.y = g.c, .x = c});
}

// Whole blocks of k of a large B. Of a large A whole tiles of what meets a piece of B; all of it where every piece of B
// would ask for it anew.
Pieces pieces_of(const Gemm& g) {
  constexpr std::int64_t unit = 2 * gemm_block_k, tiles = 96, large = 2 * widened_at_once;
  Pieces by{g.b.dim(0), g.c.dim(0)};
  const bool large_b = g.b.numel() > large;
  if (large_b) by.b_rows = std::max<std::int64_t>(widened_at_once / g.b.dim(1) / unit, 1) * unit;
  const std::int64_t K = g.a.dim(g.trans_a ? 0 : 1), deep = large_b && !g.trans_b ? std::min(by.b_rows, K) : K;
  if (g.a.numel() > large && !(large_b && g.trans_b))
    by.c_rows = std::max<std::int64_t>(widened_at_once / deep / tiles, 1) * tiles;
  return by;
}

// c in C: T or its Accum.
template <class T, class C>
void run_widened(const Gemm& g) {
  if (is_few_rows_product(g)) return few_rows_product<T, C>(g);
  if (g.a.rank() == 2 && g.b.rank() == 2 && g.c.rank() == 2)
    if (const Pieces by = pieces_of(g); by.b_rows < g.b.dim(0) || by.c_rows < g.c.dim(0))
      return run_by_pieces<T, C>(g, by);
  Gemm wide = g;
  wide.a = widened<T>(g.a), wide.b = widened<T>(g.b), wide.bias = widened<T>(g.bias);
  if constexpr (std::is_same_v<C, T>) wide.c = widened<T>(g.c, g.accumulate);
  run<Accum<T>>(wide);
  if constexpr (std::is_same_v<C, T>) copy({.y = g.c, .x = wide.c});
}

}  // namespace

void gemm(const Gemm& g) {
  for (const Tensor* t : {&g.c, &g.a, &g.b})
    if (t->row_stride() < 0)
      input_error("gemm: the rows of a tensor ", t->shape().str(), " are not equally far apart; copy it first");
  if (g.a.dtype() == Dtype::f32) return is_few_rows_product(g) ? few_rows_product<float, float>(g) : run<float>(g);
  if (g.a.dtype() == Dtype::f64) return run<double>(g);
  g.c.dtype() == Dtype::bf16 ? run_widened<Bf16, Bf16>(g) : run_widened<Bf16, float>(g);
}

}  // namespace ov::kernels::cpu
