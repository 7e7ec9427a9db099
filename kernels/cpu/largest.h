// The largest of n numbers and `start`, in 16 lanes and a tree as in base/sum.h, so that it vectorises. A NaN among
// them is passed over.
#pragma once
#include <algorithm>
#include <cstdint>

namespace ov::kernels::cpu {

template <class A, class T>
inline A largest(std::int64_t n, const T* x, A start) {
  A lane[16];
  std::fill_n(lane, 16, start);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) lane[k] = A(x[i + k]) > lane[k] ? A(x[i + k]) : lane[k];
  for (int k = 0; i + k < n; ++k) lane[k] = A(x[i + k]) > lane[k] ? A(x[i + k]) : lane[k];
  for (int step = 8; step; step /= 2)
    for (int k = 0; k < step; ++k) lane[k] = lane[k + step] > lane[k] ? lane[k + step] : lane[k];
  return lane[0];
}

}  // namespace ov::kernels::cpu
