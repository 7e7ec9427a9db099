// Sums over rows: the gradients of weights that every row shares (a norm's scale, a bias).
//
//   dw_c += Σ_n term(n, c),   n < N, c < C
//
// The order is fixed and depends on N alone: blocks of 64 rows are summed in order, blocks are combined by a binary
// tree (block i takes block i + 1, then i + 2, i + 4 ... as in a tournament), and the total is added to dw once.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/parallel.h"

namespace ov::kernels {

constexpr std::int64_t rows_in_block = 64;

// `row(n)` gives the terms of row n as a function of c, so that finding a row is not repeated for every c and the loop
// over c vectorises. It is called from several threads and must not read dw.
template <class A, class F>
void add_sum_of_rows(std::int64_t N, std::int64_t C, A* dw, F row) {
  constexpr std::int64_t columns_at_once = 128;
  if (N <= 0 || C <= 0) return;
  const std::int64_t blocks = (N + rows_in_block - 1) / rows_in_block;
  const std::int64_t chunks = (C + columns_at_once - 1) / columns_at_once;
  thread_local std::vector<A> kept;  // memory for the next call; taken away while in use, for a term may call this too
  std::vector<A> memory = std::move(kept);
  if (static_cast<std::int64_t>(memory.size()) < blocks * C) memory.resize(static_cast<std::size_t>(blocks * C));
  A* partial = memory.data();  // [blocks, C]

  parallel_for(blocks * chunks, std::max<std::int64_t>(1, 256 / std::min(columns_at_once, C)), [&](std::int64_t i) {
    const std::int64_t block = i / chunks, c0 = i % chunks * columns_at_once;
    const std::int64_t n0 = block * rows_in_block, n1 = std::min(n0 + rows_in_block, N);
    const std::int64_t width = std::min(columns_at_once, C - c0);
    A s[columns_at_once] = {};  // local, so that the compiler knows it overlaps nothing
    for (std::int64_t n = n0; n < n1; ++n) {
      const auto term = row(n);
      for (std::int64_t c = 0; c < width; ++c) s[c] += term(c0 + c);
    }
    std::copy_n(s, width, partial + block * C + c0);
  });

  parallel_ranges(C, std::max<std::int64_t>(16, 16384 / blocks), [&](std::int64_t c0, std::int64_t c1) {
    for (std::int64_t step = 1; step < blocks; step *= 2)
      for (std::int64_t b = 0; b + step < blocks; b += 2 * step) {
        A* to = partial + b * C;
        const A* from = partial + (b + step) * C;
        for (std::int64_t c = c0; c < c1; ++c) to[c] += from[c];
      }
    for (std::int64_t c = c0; c < c1; ++c) dw[c] += partial[c];
  });
  kept = std::move(memory);
}

}  // namespace ov::kernels
