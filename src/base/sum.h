// Sums along a row on the CPU, where no matrix product makes them.
//
// 16 interleaved lanes, then a fixed tree: it vectorises, and gives the same bits on every instruction set and
// compiler. Adding terms that are exactly zero at the end does not change the result.
#pragma once
#include <cmath>
#include <cstdint>

namespace ov {

template <class A, class F>
inline A sum(std::int64_t n, F&& term) {
  A lane[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) lane[k] += A(term(i + k));
  for (int k = 0; i + k < n; ++k) lane[k] += A(term(i + k));
  for (int step = 8; step; step /= 2)
    for (int k = 0; k < step; ++k) lane[k] += lane[k + step];
  return lane[0];
}

template <class A, class T>
inline A dot(std::int64_t n, const T* a, const T* b) {
  return sum<A>(n, [&](std::int64_t i) { return A(a[i]) * A(b[i]); });
}

}  // namespace ov
