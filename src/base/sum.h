// Sums along a row on the CPU, where no matrix product makes them.
//
// 16 interleaved lanes, then a fixed tree: it vectorises, and gives the same bits on every instruction set and
// compiler. Adding terms that are exactly zero at the end does not change the result.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace ov {

// The tree over 16 lanes: lane k takes lane k + 8, then k + 4, k + 2, k + 1. join(x, y) joins vectors of any width, y
// into x. In vectors, because a loop over an array goes through memory after every level.
template <class A, class Join>
inline A tree_of_lanes(const A (&lane)[16], Join&& join) {
  using Eight [[gnu::vector_size(8 * sizeof(A))]] = A;
  using Four [[gnu::vector_size(4 * sizeof(A))]] = A;
  Eight eight, upper_eight;
  std::memcpy(&eight, lane, sizeof eight), std::memcpy(&upper_eight, lane + 8, sizeof upper_eight);
  join(eight, upper_eight);
  Four four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3);
  const Four upper_four = __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  join(four, upper_four);
  const Four upper_two = __builtin_shufflevector(four, four, 2, 3, 2, 3);
  join(four, upper_two);
  const Four second = __builtin_shufflevector(four, four, 1, 1, 1, 1);
  join(four, second);
  return four[0];
}

template <class A, class F>
inline A sum(std::int64_t n, F&& term) {
  A lane[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; ++k) lane[k] += A(term(i + k));
  for (int k = 0; i + k < n; ++k) lane[k] += A(term(i + k));
  return tree_of_lanes(lane, [](auto& x, const auto& y) { x += y; });
}

template <class A, class T>
inline A dot(std::int64_t n, const T* a, const T* b) {
  return sum<A>(n, [&](std::int64_t i) { return A(a[i]) * A(b[i]); });
}

}  // namespace ov
