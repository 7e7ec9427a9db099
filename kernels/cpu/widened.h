// bf16 in the kernels that work on tiles (products and attention): operands are widened whole, the arithmetic is that
// of f32, and each element of the result is rounded once, at the end. The same bits as widening tile by tile.
#pragma once
#include <memory>

#include "kernels/table.h"

namespace ov::kernels::cpu {

// Host memory of x's shape in Accum<T>; `filled` with x. A null tensor stays null.
template <class T>
Tensor widened(const Tensor& x, bool filled = true) {
  if (!x) return {};
  const std::shared_ptr<Accum<T>[]> memory(new Accum<T>[static_cast<std::size_t>(x.numel())]);
  const Tensor wide = Tensor::borrowed(memory.get(), x.shape(), dtype_of<Accum<T>>(), memory);
  if (filled) copy({.y = wide, .x = x});
  return wide;
}

}  // namespace ov::kernels::cpu
