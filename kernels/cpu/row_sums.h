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

#include "kernels/cpu/wide_for.h"
#include "kernels/row_blocks.h"

namespace ov::kernels {

constexpr std::int64_t columns_at_once = 128;  // of add_sum_of_rows: a row of no more is met once, by one thread

// The sums of the blocks of N rows, C of them each, and their tree, for kernels that add them up on their way.
template <class A>
class RowSums {
 public:
  RowSums(std::int64_t N, std::int64_t C) : N_(std::max<std::int64_t>(0, N)), C_(C), memory_(std::move(kept())) {
    if (static_cast<std::int64_t>(memory_.size()) < blocks() * C)
      memory_.resize(static_cast<std::size_t>(blocks() * C));
  }
  ~RowSums() { kept() = std::move(memory_); }
  RowSums(const RowSums&) = delete;

  std::int64_t blocks() const { return (N_ + rows_in_block - 1) / rows_in_block; }
  std::int64_t begin(std::int64_t block) const { return block * rows_in_block; }
  std::int64_t end(std::int64_t block) const { return std::min(begin(block) + rows_in_block, N_); }
  A* sums(std::int64_t block) { return memory_.data() + block * C_; }
  A* cleared(std::int64_t block) {
    std::fill_n(sums(block), C_, A(0));
    return sums(block);
  }
  // Once: to[c] += the total of column first + c, c < n.
  void add_to(A* to, std::int64_t first, std::int64_t n) {
    const std::int64_t blocks = this->blocks();
    parallel_ranges(n, std::max<std::int64_t>(16, 16384 / std::max<std::int64_t>(1, blocks)),
                    [&](std::int64_t c0, std::int64_t c1) {
                      for (std::int64_t step = 1; step < blocks; step *= 2)
                        for (std::int64_t b = 0; b + step < blocks; b += 2 * step) {
                          A *into = sums(b) + first, *from = sums(b + step) + first;
                          for (std::int64_t c = c0; c < c1; ++c) into[c] += from[c];
                        }
                      for (std::int64_t c = c0; blocks > 0 && c < c1; ++c) to[c] += sums(0)[first + c];
                    });
  }

 private:
  // Memory for the next one on this thread; taken away while in use, for a term may need sums too.
  static std::vector<A>& kept() {
    thread_local std::vector<A> memory;
    return memory;
  }
  std::int64_t N_, C_;
  std::vector<A> memory_;  // [blocks, C]
};

// `row(n)` gives the terms of row n as a function of c, so that finding a row is not repeated for every c and the loop
// over c vectorises. It is called from several threads and must not read dw.
template <class A, class F>
void add_sum_of_rows(std::int64_t N, std::int64_t C, A* dw, F row) {
  if (C <= 0) return;
  RowSums<A> all(N, C);
  const std::int64_t chunks = (C + columns_at_once - 1) / columns_at_once;
  const std::int64_t grain = std::max<std::int64_t>(1, 256 / std::min(columns_at_once, C));
  cpu::wide_for(all.blocks() * chunks, grain, [&](std::int64_t i) {
    const std::int64_t block = i / chunks, c0 = i % chunks * columns_at_once;
    const std::int64_t width = std::min(columns_at_once, C - c0);
    A s[columns_at_once] = {};  // local, so that the compiler knows it overlaps nothing
    for (std::int64_t n = all.begin(block); n < all.end(block); ++n) {
      const auto term = row(n);
      for (std::int64_t c = 0; c < width; ++c) s[c] += term(c0 + c);
    }
    std::copy_n(s, width, all.sums(block) + c0);
  });
  all.add_to(dw, 0, C);
}

}  // namespace ov::kernels
