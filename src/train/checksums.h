// Checksums of what a step works on (base/hash.h).
#pragma once
#include <atomic>

#include "base/hash.h"
#include "base/parallel.h"
#include "tensor/tensor.h"

namespace ov {

// Of several arrays as if they were one.
struct ChecksumOfArrays {
  template <class T>
  void add(const T* p, std::int64_t n) {
    value += checksum(p, n, first);
    first += static_cast<std::uint64_t>(n);
  }
  std::uint64_t value = 0, first = 0;
};

// The checksum is a sum, so ranges of a tensor add up to its own in any order; `first`: where this range begins.
inline std::uint64_t tensor_checksum(const Tensor& t, std::int64_t first = 0) {
  std::atomic<std::uint64_t> total{0};
  const Tensor here = t.to(cpu());
  by_dtype(t.dtype(), [&](auto v) {
    const auto* p = here.data<decltype(v)>();
    parallel_ranges(t.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
      total += checksum(p + begin, end - begin, static_cast<std::uint64_t>(first + begin));
    });
  });
  return total;
}

}  // namespace ov
