// A few rows times the rows of a matrix, c = a Bᵀ: what writing answers is made of, a row for each of them, and not
// much slower than B can be read. B is read once, where it lies, turned in registers, widened on its way if it is bf16,
// and multiplied there by every row of a. The sums are gemm.h's.
#pragma once
#include <cstdint>

#include "kernels/cpu/gemm_lanes.h"

namespace ov::kernels::cpu {

// Where the next rows of B stand, asked for from end to end, a line for each line that is read now: one long stream
// into the second-level cache, and from there the rows come side by side. Of rows that do not follow each other closely
// only the first line of the next is. May point past B, which does no harm.
class Ahead {
 public:
  template <class B>
  Ahead(const B* next, bool close) : at_(reinterpret_cast<const char*>(next)), step_(close ? 64 : 0) {}
  template <std::int64_t lines>
  inline __attribute__((always_inline)) void ask() {
    OV_UNROLL
    for (std::int64_t i = 0; i < lines; ++i) __builtin_prefetch(at_ + i * step_, 0, 2);
    at_ += lines * step_;
  }

 private:
  const char* at_;
  std::int64_t step_;
};

// Rows of a that are multiplied together. f64 is the oracle's, which needs no more than one.
template <class T>
constexpr std::int64_t most_rows = sizeof(T) == sizeof(float) ? 16 : 1;
// How far apart the columns of M rows of a best lie, the rows side by side.
constexpr std::int64_t turned_width(std::int64_t M) { return M == 1 ? 1 : M <= 8 ? 8 : 16; }

// c[m c_row + n] (+)= Σ_k a[k a_col + m] b[n b_col + k] (+ bias[n]) for m < M <= most_rows and n < N; K > 0.
// B: T, or bf16 where T is float.
template <class T, class B>
struct RowProduct {
  std::int64_t N, K;
  const T* a;
  std::int64_t a_col;
  const B* b;
  std::int64_t b_col;
  T* c;
  bool accumulate = false;
  const T* bias = nullptr;
  std::int64_t M = 1, c_row = 0;
};

// On the calling thread.
template <class T, class B>
void row_product(const RowProduct<T, B>& p);
extern template void row_product(const RowProduct<float, float>&);
extern template void row_product(const RowProduct<double, double>&);
extern template void row_product(const RowProduct<float, Bf16>&);

}  // namespace ov::kernels::cpu
