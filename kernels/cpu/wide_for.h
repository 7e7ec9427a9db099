// parallel.h's loops, compiled twice: for the vectors of the build, and for 512-bit ones, which are taken where the
// processor has them. What is computed for one index, and in which order, is the same, and so are the bits: only loops
// whose elements do not meet, and sums with lanes of their own (base/sum.h), become wider.
#pragma once
#include "base/parallel.h"
#include "kernels/cpu/gemm_wide.h"

namespace ov::kernels::cpu {

// All that is called is inlined, for it is the caller whose vectors are wide.
template <class F>
OV_WIDE __attribute__((flatten)) void wide_range(F& f, std::int64_t begin, std::int64_t end) {
  f(begin, end);
}

template <class F>
void wide_ranges(std::int64_t n, std::int64_t grain, F&& f) {
  if (!wide_vectors()) return parallel_ranges(n, grain, f);
  parallel_ranges(n, grain, [&](std::int64_t begin, std::int64_t end) { wide_range(f, begin, end); });
}

template <class F>
void wide_for(std::int64_t n, std::int64_t grain, F&& f) {
  wide_ranges(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

// f(i) for i < n in groups of 16, the last one whole: loops over few elements that need no shorter vectors at the end.
template <class F>
inline void by_sixteen(std::int64_t n, F&& f) {
  for (std::int64_t i = 0; i < n; i += 16)
    for (int k = 0; k < 16; ++k) f(i + k);
}

}  // namespace ov::kernels::cpu
