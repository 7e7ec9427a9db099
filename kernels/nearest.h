// For every row of a the k rows of b with the largest products: exact search, product and selection fused tile by tile,
// so that the N x M scores never stand in memory.
//
//   s_nm = a_n · b_m        ids_n: the k rows m with the largest s_nm, largest first; of equal ones the lower m
//
// Which rows those are, and the scores, are those of f64 arithmetic on the f32 values: a first pass in f32 proposes
// k + 8 of them, which are scored again in f64. The proposal is proved complete by the bound on an f32 product's error
// (Higham 2002, 3.1: |error| <= gamma_C |a||b|); a row for which the bound does not decide is searched in f64. Nothing
// depends on tiles, threads or on the other rows of a.
//
// a [N,C], b [M,C] f32, finite; ids [N,k] i32, scores [N,k] f32; 1 <= k <= M, and on a GPU min(k + 8, M) <= 1024.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct Nearest {
  Tensor ids, scores;
  Tensor a, b;
};

void nearest(const Nearest&);

}  // namespace ov::kernels
