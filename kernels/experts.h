// Rows on their way to the experts and back. A token has k experts; slot (t,j) is its j-th, R = T k slots in all.
//
//   expert_order   the slots sorted by expert, stably: those of an expert in order of their tokens.
//                  Sorted row r belongs to tokens_r; slots_tj is the row of slot (t,j); the rows of expert e are
//                  offsets_e .. offsets_{e+1}, none for an expert that nobody chose
//   expert_counts  counts_e += offsets_{e+1} - offsets_e
//   grouped_gemm   one product for all experts, whose matrices lie one below the other: for each expert e, with its
//                  rows of a (and of b or c)
//                    y = x w_eᵀ     {.c = y [R,F],  .a = x [R,C],  .b = w [E F,C], .trans_b = true}
//                    dx = dy w_e    {.c = dx [R,C], .a = dy [R,F], .b = w [E F,C]}
//                    dw_e += dyᵀ x  {.c = dw [E F,C], .a = dy [R,F], .b = x [R,C], .trans_a = true, .accumulate = true}
//                  The sums are gemm's (kernels/gemm.h): a row's bits depend on the row and its expert alone
//   combine        y_t = Σ_j w_tj x[slots_tj], in order of j; without weights w = 1
//                  dx[slots_tj] = w_tj dy_t;  dw_tj = Σ_c dy_tc x[slots_tj]_c
//
// experts, tokens, slots, offsets, counts are i64. Rows of one call share a dtype (grouped_gemm: as gemm); weights and
// dweights [T,k] are of its accumulation type, and a sum is rounded once.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct ExpertOrder {
  Tensor tokens, slots, offsets;  // [R], [T,k], [E+1]
  Tensor experts;                 // [T,k]
};
struct ExpertCounts {
  Tensor counts;  // [E]
  Tensor offsets;
};
struct GroupedGemm {
  Tensor c;
  Tensor a, b, offsets;
  bool trans_a = false, trans_b = false;
  bool accumulate = false;
};
struct CombineForward {
  Tensor y;  // [T,C]
  Tensor x, weights, slots;
};
struct CombineBackward {
  Tensor dx, dweights;  // either may be null
  Tensor dy, x, weights, slots;
};

void expert_order(const ExpertOrder&);
void expert_counts(const ExpertCounts&);
void grouped_gemm(const GroupedGemm&);
void combine_forward(const CombineForward&);
void combine_backward(const CombineBackward&);

}  // namespace ov::kernels
