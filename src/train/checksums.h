// Checksums of what a step works on (base/hash.h).
#pragma once
#include <atomic>

#include "base/hash.h"
#include "base/parallel.h"
#include "nn/parameters.h"

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

// Of all weights of one rank, wherever each of them lies (Parameters::borrow).
inline std::uint64_t weights_checksum(const Parameters& parameters) {
  std::uint64_t sum = 0;
  std::int64_t first = 0;
  for (const auto& e : parameters.entries()) {
    sum += tensor_checksum(e.parameter.value, first);
    first += e.shape.numel();
  }
  return sum;
}

// Of a flat buffer of all parameters, or of those that are trained, from element `first` on, as part of the same buffer
// of all ranks that hold a model together: theirs add up to the checksum of that.
inline std::uint64_t whole_checksum(const Parameters& parameters, const Tensor& t, std::int64_t first, bool trained) {
  const Communicator& ranks = parameters.tensor();
  if (ranks.ranks() * parameters.pipe().ranks() * parameters.experts().ranks() == 1) return tensor_checksum(t, first);
  const Tensor here = t.to(cpu());
  std::uint64_t sum = 0;
  std::int64_t own = 0, whole = 0;  // where the entry begins
  for (const auto& e : parameters.entries()) {
    if (trained && !e.parameter.trainable) continue;
    const std::int64_t n = e.shape.numel() / e.blocks(), all = e.whole.numel() / e.blocks();
    const bool counts = (e.cut != Cut::none || ranks.rank() == 0) &&
                        (e.expert_holder >= 0 || parameters.experts().rank() == 0);  // of what several hold, one
    for (std::int64_t b = 0; b < e.blocks() && counts; ++b) {
      const std::int64_t begin = std::max(first, own + b * n), end = std::min(first + t.numel(), own + (b + 1) * n);
      if (begin >= end) continue;
      const std::int64_t place = whole + b * all + (e.cut == Cut::none ? 0 : ranks.rank() * n) + begin - own - b * n;
      sum += tensor_checksum(here.slice(0, begin - first, end - first), place);
    }
    own += e.shape.numel(), whole += e.whole.numel();
  }
  return sum;
}

}  // namespace ov
