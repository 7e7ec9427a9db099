// Products of a few rows with a large matrix, which is what writing answers is made of: the matrix is read once, where
// it lies, from end to end, by row_product.h. The sums are gemm.h's, so the bits are those of any other way.
#pragma once
#include "kernels/gemm.h"

namespace ov::kernels::cpu {

constexpr std::int64_t few_rows = 64;  // more of them pay for a copy of the whole

// Whether g is one: c = a bᵀ (+ bias) with 1 to few_rows rows.
bool is_few_rows_product(const Gemm& g);

// a and b of type B, c of type C.
template <class B, class C>
void few_rows_product(const Gemm& g);
extern template void few_rows_product<Bf16, Bf16>(const Gemm&);
extern template void few_rows_product<Bf16, float>(const Gemm&);
extern template void few_rows_product<float, float>(const Gemm&);

}  // namespace ov::kernels::cpu
