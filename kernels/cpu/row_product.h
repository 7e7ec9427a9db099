// One row times the rows of a matrix, c = a Bᵀ: what writing an answer is made of, and no faster than B can be read. B
// is read once, where it lies, turned in registers, and widened on its way if it is bf16. The sums are gemm.h's.
#pragma once
#include <cstdint>

#include "kernels/cpu/gemm_lanes.h"

namespace ov::kernels::cpu {

// c[n] (+)= Σ_k a[k a_col] b[n b_col + k] (+ bias[n]) for n < N; K > 0. B: T, or bf16 where T is float.
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
};

// On the calling thread.
template <class T, class B>
void row_product(const RowProduct<T, B>& p);
extern template void row_product(const RowProduct<float, float>&);
extern template void row_product(const RowProduct<double, double>&);
extern template void row_product(const RowProduct<float, Bf16>&);

}  // namespace ov::kernels::cpu
