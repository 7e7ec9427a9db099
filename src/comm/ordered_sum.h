// Sums over ranks and over micro-batches in one fixed order.
//
// The tree over n parts: the first 2^k of them, 2^k the largest power of two below n, are a tree of their own, the rest
// is another, and the two are added. The sum of an aligned range of 2^k parts is therefore a node of the tree, and who
// makes it does not show: ranks that own such ranges get the bits of one rank.
#pragma once
#include <span>

#include "tensor/tensor.h"

namespace ov {

void add_to(const Tensor& sum, const Tensor& t);   // sum += t; contiguous, of one shape and dtype
void sum_in_order(std::span<const Tensor> parts);  // into the first; the others are used up
// Into `sum`, which may be one of the parts. All are used up but `kept`, one of them or nothing.
void sum_in_order(std::span<const Tensor> parts, const Tensor& sum, const Tensor& kept);

}  // namespace ov
