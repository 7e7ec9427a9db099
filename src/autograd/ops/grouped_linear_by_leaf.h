// grouped_linear over the rows of several leaves (micro-batches) at once: x [R,C] has those of one leaf after those of
// another, each sorted by expert.
//
//   y = x w_eᵀ    dx = dy w_e    dw_e = Σ_leaves dyᵀ x over the rows of the leaf
//
// The sum over leaves is the tree of comm/ordered_sum.h, so that dw has the bits of a step that runs the leaves by
// themselves and adds their gradients. It takes one more gradient of w for every leaf but the first.
#pragma once
#include "autograd/tape.h"

namespace ov {

struct LeafRows {
  std::int64_t rows;
  Tensor offsets;     // [E+1] i64, within the leaf's rows
  bool there = true;  // false: no leaf, so no addend either, not even zeros; it has no rows
};

// x [R,C], w [E F,C] -> [R,F]
Var grouped_linear_by_leaf(const Var& x, const Var& w, const std::vector<LeafRows>& leaves);

}  // namespace ov
