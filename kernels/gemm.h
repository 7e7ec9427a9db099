// Matrix product: every linear layer, forward and backward, and the products of the language model head.
//
//   C[M,N] (+)= op(A)[M,K] op(B)[K,N] (+ bias[N] on every row)          op(X) = X or its transpose
//
// A linear layer y = x w^T + b with x [N,C], w [F,C], and its gradients:
//   forward   {.c = y,  .a = x,  .b = w, .trans_b = true, .bias = b}
//   dx = dy w {.c = dx, .a = dy, .b = w}
//   dw += dy^T x {.c = dw, .a = dy, .b = x, .trans_a = true, .accumulate = true}
//   db += Σ_n dy_n: sum_rows (kernels/rows.h)
// a, b and bias share a dtype; c has it too, or the one it accumulates in: dw of bf16 layers is f32. bf16 is multiplied
// and added in f32, and an element of a bf16 c is rounded once, after the bias. A tensor is seen as dims<2>: leading
// axes are its rows, which must lie a constant distance apart (Tensor::row_stride): column slices of a fused tensor are
// fine. C overlaps no input. On the CPU an element is a function of its row of A, its column of B and K alone, in bits:
// see kernels/cpu/gemm.h.
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct Gemm {
  Tensor c;
  Tensor a, b;
  bool trans_a = false, trans_b = false;
  bool accumulate = false;  // add to what c holds instead of overwriting it
  Tensor bias = {};         // [N] or null; added after the product
};

void gemm(const Gemm&);

}  // namespace ov::kernels
