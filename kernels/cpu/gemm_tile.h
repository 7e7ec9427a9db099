// The innermost parts of the matrix product: the register tile, and the packing that feeds it.
//
// A tile is 6 rows by two vectors of C, held in 12 of the 16 AVX registers while k runs. Per k it needs 6 broadcasts
// and 2 loads for 12 fused multiply-adds, which keeps both FMA units busy. (Goto and van de Geijn 2008;
// Van Zee and van de Geijn 2015.)
#pragma once
#include <algorithm>

#include "kernels/cpu/gemm_lanes.h"

namespace ov::kernels::cpu {

constexpr std::int64_t tile_rows = 6;
template <class T>
constexpr std::int64_t tile_columns = 2 * Lanes<T>::width;

// Where a tile's result goes.
template <class T>
struct TileOut {
  T* c;
  std::int64_t c_row;
  std::int64_t columns;  // valid ones, at most tile_columns
  bool add;              // to what c holds
  const T* bias;         // of these columns, or null
  // Memory that is read next, brought to the second-level cache meanwhile: so many lines whenever a line's worth of k
  // is done, and none of it is needed for the result. Wide tiles do it.
  const T* ahead = nullptr;
  std::int64_t ahead_lines = 0;
};

template <class T>
constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(T));  // elements of a line of the cache

// c[R, columns] (+)= Σ_k a[i a_row + k a_col] b[k b_row + j]. One chain of fused multiply-adds per element, from zero.
// V vectors of b are read for every k, also past `columns`.
template <class T, int R, int V>
void tile(std::int64_t K, const T* a, std::int64_t a_row, std::int64_t a_col, const T* b, std::int64_t b_row,
          const TileOut<T>& out) {
  using L = Lanes<T>;
  L s[R][V];
  const T* a3 = a + 3 * a_row;  // rows 3..5 by the same three addressing modes as rows 0..2
  OV_UNROLL
  for (int i = 0; i < R; ++i) __builtin_prefetch(out.c + i * out.c_row, 1);
  for (std::int64_t k = 0; k < K; ++k, a += a_col, a3 += a_col, b += b_row) {
    L y[V];
    OV_UNROLL
    for (int j = 0; j < V; ++j) y[j] = L::load(b + j * L::width);
    OV_UNROLL
    for (int i = 0; i < R; ++i) {
      const L x = L::broadcast(i < 3 ? a + i * a_row : a3 + (i - 3) * a_row);
      OV_UNROLL
      for (int j = 0; j < V; ++j) s[i][j].add_product(x, y[j]);
    }
  }
  if (out.columns == V * L::width) {
    OV_UNROLL
    for (int i = 0; i < R; ++i) {
      T* c = out.c + i * out.c_row;
      OV_UNROLL
      for (int j = 0; j < V; ++j) {
        L r = out.add ? L::load(c + j * L::width).plus(s[i][j]) : s[i][j];
        if (out.bias) r = r.plus(L::load(out.bias + j * L::width));
        r.store(c + j * L::width);
      }
    }
    return;
  }
  T buffer[R][V * L::width];
  OV_UNROLL
  for (int i = 0; i < R; ++i) {
    OV_UNROLL
    for (int j = 0; j < V; ++j) s[i][j].store(buffer[i] + j * L::width);
  }
  for (int i = 0; i < R; ++i) {
    T* c = out.c + i * out.c_row;
    for (std::int64_t j = 0; j < out.columns; ++j) {
      T r = out.add ? c[j] + buffer[i][j] : buffer[i][j];
      if (out.bias) r = r + out.bias[j];
      c[j] = r;
    }
  }
}

template <class T>
using TileFn = void (*)(std::int64_t, const T*, std::int64_t, std::int64_t, const T*, std::int64_t, const TileOut<T>&);

// Tiles at the edges have fewer rows, and one vector when that is enough for their columns.
template <class T>
constexpr TileFn<T> tile_of[tile_rows][2] = {{tile<T, 1, 1>, tile<T, 1, 2>}, {tile<T, 2, 1>, tile<T, 2, 2>},
                                             {tile<T, 3, 1>, tile<T, 3, 2>}, {tile<T, 4, 1>, tile<T, 4, 2>},
                                             {tile<T, 5, 1>, tile<T, 5, 2>}, {tile<T, 6, 1>, tile<T, 6, 2>}};

// to[k to_row + i] = from[i from_row + k] for i < W and k < K. Only `rows` <= W rows exist; the last one stands for the
// others. Every store writes W elements, so `to` needs W - to_row elements behind its last row. Rows that lie `next`
// rows further down are asked for, unless it is 0: the processor foresees a row's next line, not the next row.
template <class T>
void pack_transposed(std::int64_t rows, std::int64_t K, const T* from, std::int64_t from_row, T* to,
                     std::int64_t to_row, std::int64_t next = 0) {
  using L = Lanes<T>;
  constexpr std::int64_t W = L::width;
  const T* row[W];
  for (std::int64_t i = 0; i < W; ++i) row[i] = from + std::min(i, rows - 1) * from_row;
  std::int64_t k = 0;
  for (; k + W <= K; k += W) {
    if (next > 0 && k % line<T> == 0)
      for (std::int64_t i = 0; i < rows; ++i) __builtin_prefetch(row[i] + next * from_row + k);
    L x[W];
    L::load_transposed(row, k, x);
    OV_UNROLL
    for (int i = 0; i < W; ++i) x[i].store(to + (k + i) * to_row);
  }
  for (; k < K; ++k)
    for (std::int64_t i = 0; i < W; ++i) to[k * to_row + i] = row[i][k];
}

// One panel of B: to[k tile_columns + j] = B(k, j) for j < columns, zero beyond.
template <class T>
void pack_b(std::int64_t columns, std::int64_t K, const T* b, std::int64_t b_row, std::int64_t b_col, T* to) {
  using L = Lanes<T>;
  constexpr std::int64_t W = L::width, NR = tile_columns<T>;
  if (b_row == 1) {
    pack_transposed(std::min(columns, W), K, b, b_col, to, NR, W);
    if (columns > W) pack_transposed(columns - W, K, b + W * b_col, b_col, to + W, NR, W);
    return;
  }
  if (b_col == 1 && columns == NR) {
    constexpr std::int64_t ahead = 16;  // rows; the processor does not foresee steps this long
    for (std::int64_t k = 0; k < K; ++k, b += b_row, to += NR) {
      __builtin_prefetch(b + std::min(ahead, K - 1 - k) * b_row);
      L::load(b).store(to), L::load(b + W).store(to + W);
    }
    return;
  }
  for (std::int64_t k = 0; k < K; ++k, b += b_row, to += NR)
    for (std::int64_t j = 0; j < NR; ++j) to[j] = j < columns ? b[j * b_col] : T(0);
}

// Six rows of A: to[k 6 + i] = A(i, k). `to` needs W elements of room behind the last.
template <class T>
void pack_a(std::int64_t K, const T* a, std::int64_t a_row, std::int64_t a_col, T* to) {
  constexpr std::int64_t W = Lanes<T>::width, last = (tile_rows - 1) / W * W;
  if (a_col == 1) {  // from the last group to the first, since a group spills into the next k of the ones before it
    for (std::int64_t i = last; i >= 0; i -= W)
      pack_transposed(std::min(W, tile_rows - i), K, a + i * a_row, a_row, to + i, tile_rows, tile_rows);
    return;
  }
  for (std::int64_t k = 0; k < K; ++k)
    for (std::int64_t i = 0; i < tile_rows; ++i) to[k * tile_rows + i] = a[i * a_row + k * a_col];
}

// `panels` of them, one K tile_rows elements behind the other, from an A whose rows lie side by side (a_row is 1): what
// is read once for a k serves all of them. The last k is copied without the elements behind it.
template <class T>
void pack_columns_of_a(std::int64_t panels, std::int64_t K, const T* a, std::int64_t a_col, T* to) {
  using L = Lanes<T>;
  constexpr std::int64_t ahead = 8;
  for (std::int64_t k = 0; k < K; ++k, a += a_col, to += tile_rows) {
    const T* next = a + std::min(ahead, K - 1 - k) * a_col;
    for (std::int64_t i = 0; i < panels * tile_rows; i += line<T>) __builtin_prefetch(next + i);
    for (std::int64_t p = 0; p < panels; ++p)
      if (k + 1 < K)
        for (std::int64_t i = 0; i < tile_rows; i += L::width)
          L::load(a + p * tile_rows + i).store(to + p * tile_rows * K + i);
      else std::copy_n(a + p * tile_rows, tile_rows, to + p * tile_rows * K);
  }
}

}  // namespace ov::kernels::cpu
