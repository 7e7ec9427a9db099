// Products of a few rows with a large bf16 matrix, which is what writing answers is made of: the matrix is read once,
// where it lies, from end to end, and turned and widened on its way. The sums are gemm.h's, so the bits are those of a
// matrix widened whole.
#pragma once
#include "kernels/gemm.h"

namespace ov::kernels::cpu {

constexpr std::int64_t few_rows = 64;  // more of them pay for a copy of the whole

// Whether g is one: c = a bᵀ (+ bias) with 1 to few_rows rows.
bool is_few_rows_product(const Gemm& g);

// a and b of bf16, c of type C.
template <class C>
void few_rows_product(const Gemm& g);
extern template void few_rows_product<Bf16>(const Gemm&);
extern template void few_rows_product<float>(const Gemm&);

}  // namespace ov::kernels::cpu
