// The largest of n numbers and `start`, in 16 lanes and a tree as in base/sum.h, so that it vectorises. A NaN among
// them is passed over.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/sum.h"

namespace ov::kernels::cpu {

template <class A, class T>
inline A largest(std::int64_t n, const T* x, A start) {
  A lane[16];
  std::fill_n(lane, 16, start);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) lane[k] = A(x[i + k]) > lane[k] ? A(x[i + k]) : lane[k];
  for (int k = 0; i + k < n; ++k) lane[k] = A(x[i + k]) > lane[k] ? A(x[i + k]) : lane[k];
  return tree_of_lanes(lane, [](auto& x, const auto& y) { x = y > x ? y : x; });
}

}  // namespace ov::kernels::cpu
