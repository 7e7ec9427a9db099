// Loops over one row of one head. Their length is known where it is the usual one: what such a short loop begins and
// ends with, and the call that copies it, take longer than its arithmetic.
#pragma once
#include <algorithm>
#include <cstdint>

namespace ov::kernels::cpu {

// f(D), with a constant where D is 32.
template <class F>
inline auto with_width(std::int64_t D, F&& f) {
  return D == 32 ? f(std::int64_t{32}) : f(D);
}

template <class T>
inline void copy_row(std::int64_t D, T* __restrict to, const T* __restrict from) {
  with_width(D, [&](std::int64_t D) { std::copy_n(from, D, to); });
}
template <class T>
inline void clear_row(std::int64_t D, T* to) {
  with_width(D, [&](std::int64_t D) { std::fill_n(to, D, T(0)); });
}
template <class T>
inline void add_row(std::int64_t D, T* __restrict to, const T* __restrict from) {
  for (std::int64_t d = 0; d < D; ++d) to[d] += from[d];
}
template <class T>
inline void divide_row(std::int64_t D, T* __restrict to, const T* __restrict from, T by) {
  for (std::int64_t d = 0; d < D; ++d) to[d] = from[d] / by;
}

}  // namespace ov::kernels::cpu
