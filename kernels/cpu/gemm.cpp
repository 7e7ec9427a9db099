#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/parallel.h"
#include "kernels/cpu/gemm_wide.h"
#include "kernels/cpu/row_product.h"

namespace ov::kernels::cpu {
namespace {

constexpr std::int64_t up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit; }

// Elements of A that are worked on together, 1/4 MB, to stay in the second-level cache; of B, for the third.
template <class T>
constexpr std::int64_t block_a = 56 * 1024 * 4 / static_cast<std::int64_t>(sizeof(T));
constexpr std::int64_t block_b = 3072 * gemm_block_k;
// Blocks of k of A and B that are worked on together, so that C is read and written half as often. With one, a narrow
// tile's panel of B stays in the first-level cache.
std::int64_t blocks_together() { return wide_vectors() ? 2 : 1; }

// A and B are copied into panels when enough tiles will read them to pay for it; else tiles read them where they lie.
// Lines a multiple of 1 KB apart fall into the same few sets of the first-level cache, and a copy pays earlier.
template <class T>
bool aliases(std::int64_t stride) {
  return stride * static_cast<std::int64_t>(sizeof(T)) % 1024 == 0;
}
template <class T>
bool worth_packing_a(const Product<T>& p) {
  const std::int64_t panels = up(p.N, tile_columns<T>);
  return panels >= (aliases<T>(std::max(p.a_row, p.a_col)) ? 12 : 20);
}
template <class T>
bool worth_packing_b(const Product<T>& p) {
  return p.b_col != 1 || p.M >= (aliases<T>(p.b_row) ? 40 : 120);
}

// Grow-only memory of this thread, 64-byte aligned. Two slots, so that A and B may grow apart.
template <class T>
T* scratch(int slot, std::int64_t n) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory[2];
  thread_local std::int64_t bytes[2] = {};
  const std::int64_t need = up(n * static_cast<std::int64_t>(sizeof(T)), 64) * 64;
  if (bytes[slot] < need) {
    bytes[slot] = 0;
    memory[slot].reset(std::aligned_alloc(64, static_cast<std::size_t>(need)));
    if (!memory[slot]) throw std::bad_alloc();
    bytes[slot] = need;
  }
  return static_cast<T*>(memory[slot].get());
}

// c (+)= bias, what is left of a product whose K is 0.
template <class T>
void empty_product(const Product<T>& p) {
  for (std::int64_t m = 0; m < p.M; ++m)
    for (std::int64_t n = 0; n < p.N; ++n) {
      T& c = p.c[m * p.c_row + n];
      if (!p.accumulate) c = T(0);
      if (p.bias) c = c + p.bias[n];
    }
}

// c[M,N] (+)= a[M,K] b[K,N] with K of a few blocks, and N K near block_b at most. Each tile of C meets one block of k
// after another, and stays near meanwhile.
template <class T>
void block_product(const Product<T>& p) {
  constexpr std::int64_t W = Lanes<T>::width, MR = tile_rows, panel = tile_columns<T>;
  const bool wide = wide_vectors();  // a wide tile takes two panels of A and two of B
  const std::int64_t NR = wide ? 2 * panel : panel, at_once = wide ? wide_rows : MR;
  const std::int64_t rows_at_once = std::max<std::int64_t>(block_a<T> / p.K / MR, 1) * MR;
  const bool b_once = p.M <= rows_at_once;  // then packed panels are used at once and their place reused
  const bool pack_this_a = worth_packing_a(p), pack_this_b = worth_packing_b(p);
  T* packed_a = pack_this_a ? scratch<T>(0, std::min(rows_at_once, up(p.M, MR) * MR) * p.K + W) : nullptr;
  T* packed_b = scratch<T>(1, (b_once ? 1 : up(p.N, NR)) * NR * p.K);

  for (std::int64_t m0 = 0; m0 < p.M; m0 += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, p.M - m0), whole_rows = rows / MR * MR;
    const T* a = p.a + m0 * p.a_row;
    if (pack_this_a && p.a_row == 1 && p.a_col != 1) pack_columns_of_a(whole_rows / MR, p.K, a, p.a_col, packed_a);
    else if (pack_this_a)
      for (std::int64_t i = 0; i < whole_rows; i += MR)
        pack_a(p.K, a + i * p.a_row, p.a_row, p.a_col, packed_a + i * p.K);

    for (std::int64_t n = 0; n < p.N; n += NR) {
      const std::int64_t columns = std::min(NR, p.N - n);
      const T* b = p.b + n * p.b_col;
      std::int64_t b_row = p.b_row, to_second = panel * p.b_col;
      if (pack_this_b || (!wide && columns % W != 0)) {
        T* panels = packed_b + (b_once ? 0 : n * p.K);
        if (m0 == 0)
          for (std::int64_t j = 0; j < columns; j += panel)
            pack_b(std::min(panel, columns - j), p.K, b + j * p.b_col, p.b_row, p.b_col, panels + j * p.K);
        b = panels, b_row = panel, to_second = panel * p.K;
      }
      T* c = p.c + m0 * p.c_row + n;
      // The panels that are read next, if they were packed before, while these are multiplied.
      const bool packed_before = wide && pack_this_b && !b_once && (m0 > 0 || n + NR >= p.N);
      const T* ahead = !packed_before ? nullptr : n + NR < p.N ? packed_b + (n + NR) * p.K : packed_b;
      const std::int64_t ahead_lines = packed_before ? up(NR, up(rows, at_once)) : 0;
      // Rows [i, i + r) of A, packed or where they lie.
      const auto run = [&](std::int64_t i, std::int64_t r, bool packed) {
        const T* rows_a = packed ? packed_a + i * p.K : a + i * p.a_row;
        const std::int64_t a_row = packed ? 1 : p.a_row, a_col = packed ? MR : p.a_col;
        const std::int64_t below = MR * (packed ? p.K : p.a_row);
        for (std::int64_t k = 0; k < p.K; k += gemm_block_k) {
          const bool last = k + gemm_block_k >= p.K;
          const std::int64_t K = last ? p.K - k : gemm_block_k;
          const TileOut<T> out{.c = c,
                               .c_row = p.c_row,
                               .columns = columns,
                               .add = p.accumulate || k > 0,
                               .bias = p.bias && last ? p.bias + n : nullptr,
                               .ahead = ahead + (i / at_once * p.K + k) * ahead_lines,
                               .ahead_lines = ahead_lines};
          const T *ak = rows_a + k * a_col, *bk = b + k * b_row;
          if (wide) wide_tile<T>(r, columns)(K, ak, ak + below, a_row, a_col, bk, to_second, b_row, out);
          else tile_of<T>[r - 1][columns > W](K, ak, a_row, a_col, bk, b_row, out);
        }
        c += r * p.c_row;
      };
      const std::int64_t in_panels = pack_this_a ? whole_rows : 0;
      for (std::int64_t i = 0; i < in_panels; i += at_once) run(i, std::min(at_once, in_panels - i), true);
      for (std::int64_t i = in_panels; i < rows; i += at_once) run(i, std::min(at_once, rows - i), false);
    }
  }
}

// Into how many parts to cut M and N for `parts` threads: the cut whose largest part costs least, in multiply-add
// instructions per k. A panel of B that several threads need is packed by each of them.
template <class T>
void choose_cut(const Product<T>& p, std::int64_t parts, std::int64_t& cut_m, std::int64_t& cut_n) {
  const std::int64_t tiles_m = up(p.M, tile_rows), tiles_n = up(p.N, tile_columns<T>);
  std::int64_t best = -1;
  for (std::int64_t m = 1; m <= parts; ++m) {
    const std::int64_t n = parts / m, most_m = up(tiles_m, m), most_n = up(tiles_n, n);
    const std::int64_t cost = 12 * most_m * most_n + 16 * most_n + (most_n > 8 ? 4 * most_m : 0);
    if (best < 0 || cost < best) best = cost, cut_m = std::min(m, tiles_m), cut_n = std::min(n, tiles_n);
  }
}

}  // namespace

template <class T>
void gemm_serial(const Product<T>& p) {
  if (p.M <= 0 || p.N <= 0) return;
  if (p.K <= 0) return empty_product(p);
  if (p.M == 1 && p.b_row == 1)
    return row_product<T, T>({.N = p.N,
                              .K = p.K,
                              .a = p.a,
                              .a_col = p.a_col,
                              .b = p.b,
                              .b_col = p.b_col,
                              .c = p.c,
                              .accumulate = p.accumulate,
                              .bias = p.bias});
  constexpr std::int64_t unit = 2 * tile_columns<T>;
  const std::int64_t most_k = std::min(p.K, blocks_together() * gemm_block_k);
  const std::int64_t parts = up(p.N, block_b / most_k), most_n = up(up(p.N, parts), unit) * unit;
  for (std::int64_t n = 0; n < p.N; n += most_n)
    for (std::int64_t k = 0; k < p.K; k += most_k) {
      Product<T> block = p;
      block.N = std::min(most_n, p.N - n);
      block.K = std::min(most_k, p.K - k);
      block.a = p.a + k * p.a_col;
      block.b = p.b + k * p.b_row + n * p.b_col;
      block.c = p.c + n;
      block.accumulate = p.accumulate || k > 0;
      block.bias = p.bias && k + most_k >= p.K ? p.bias + n : nullptr;
      block_product(block);
    }
}

template <class T>
void gemm_parallel(const Product<T>& p) {
  constexpr double worth_sharing = 1 << 18;  // multiply-adds; about 5 µs on one core
  const double size = static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
  const int width = size < worth_sharing ? 1 : threads_for_a_call();
  if (width == 1) return gemm_serial(p);
  std::int64_t cut_m = 1, cut_n = 1;
  choose_cut(p, width, cut_m, cut_n);
  const std::int64_t tiles_m = up(p.M, tile_rows), tiles_n = up(p.N, tile_columns<T>);
  parallel_for(cut_m * cut_n, [&](std::int64_t part) {
    const std::int64_t i = part / cut_n, j = part % cut_n;
    const std::int64_t m0 = tiles_m * i / cut_m * tile_rows, m1 = std::min(tiles_m * (i + 1) / cut_m * tile_rows, p.M);
    const std::int64_t n0 = tiles_n * j / cut_n * tile_columns<T>;
    const std::int64_t n1 = std::min(tiles_n * (j + 1) / cut_n * tile_columns<T>, p.N);
    Product<T> part_of = p;
    part_of.M = m1 - m0, part_of.N = n1 - n0;
    part_of.a = p.a + m0 * p.a_row;
    part_of.b = p.b + n0 * p.b_col;
    part_of.c = p.c + m0 * p.c_row + n0;
    part_of.bias = p.bias ? p.bias + n0 : nullptr;
    gemm_serial(part_of);
  });
}

template void gemm_serial(const Product<float>&);
template void gemm_serial(const Product<double>&);
template void gemm_parallel(const Product<float>&);
template void gemm_parallel(const Product<double>&);

}  // namespace ov::kernels::cpu
