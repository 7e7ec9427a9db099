// Operands of bf16 products whose rows do not lie back to back.
#pragma once
#include "tensor/tensor.h"
#include "tests/check.h"

namespace ov::test {

// [rows, width] inside a wider tensor, so that a stride is not a width; odd offsets lie at no multiple of four bytes.
inline Tensor numbers(std::int64_t rows, std::int64_t width, unsigned seed) {
  const Tensor whole({rows, width + 3}, Dtype::bf16, cpu());
  std::uint32_t state = seed;
  for (std::int64_t i = 0; i < whole.numel(); ++i) {
    state = state * 1664525 + 1013904223;
    whole.data<Bf16>()[i] = Bf16(static_cast<float>(state >> 8) * 0x1p-23F - 1);
  }
  return whole.slice(1, 1, width + 1);
}

}  // namespace ov::test
