// Products of a few rows with a large matrix of f32 or bf16, which is what writing answers is made of: the matrix is
// read once, where it lies, from end to end, and turned and widened on its way. The sums are gemm.h's, so the bits are
// those of a matrix widened whole.
#pragma once
#include "kernels/gemm.h"

namespace ov::kernels::cpu {

constexpr std::int64_t few_rows = 64;  // more of them pay for a copy of the whole

// Whether g is one: c = a bᵀ (+ bias) with 1 to few_rows rows.
bool is_few_rows_product(const Gemm& g);

// Of a and b of type B; c of type C: B, or f32 where B is bf16.
template <class B, class C>
void few_rows_product(const Gemm& g);
extern template void few_rows_product<float, float>(const Gemm&);
extern template void few_rows_product<Bf16, Bf16>(const Gemm&);
extern template void few_rows_product<Bf16, float>(const Gemm&);

}  // namespace ov::kernels::cpu
