// Products of a few rows with a large matrix: writing answers is made of them and, in bf16, the reading of prompts.
// The matrix is read where it lies, from end to end, by row_product.h. The sums are gemm.h's, and so are the bits.
#pragma once
#include "kernels/gemm.h"

namespace ov::kernels::cpu {

// Whether g is one: c = a bᵀ (+ bias), and few enough rows that a copy of the whole matrix would not pay.
bool is_few_rows_product(const Gemm& g);

// a and b of type B, c of type C.
template <class B, class C>
void few_rows_product(const Gemm& g);
extern template void few_rows_product<Bf16, Bf16>(const Gemm&);
extern template void few_rows_product<Bf16, float>(const Gemm&);
extern template void few_rows_product<float, float>(const Gemm&);

}  // namespace ov::kernels::cpu
