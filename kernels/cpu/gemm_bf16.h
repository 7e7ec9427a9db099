// Products of a few rows with a large bf16 matrix, which is what writing an answer is made of: the matrix is read once,
// where it lies, and widened on its way. The sums are gemm.h's, so the bits are those of a matrix widened whole.
#pragma once
#include "kernels/gemm.h"

namespace ov::kernels::cpu {

constexpr std::int64_t few_rows = 64;  // more of them pay for a widened copy

// c of type C = a bᵀ (+ bias), with M <= few_rows; a and b of bf16.
template <class C>
void few_rows_product(const Gemm& g);
extern template void few_rows_product<Bf16>(const Gemm&);
extern template void few_rows_product<float>(const Gemm&);

}  // namespace ov::kernels::cpu
