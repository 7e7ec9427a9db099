// The threads of a block that can run, and which of them is next.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#include "kernels/sim/scheduler.h"

namespace ov::sim {

constexpr unsigned max_threads = 1024;  // of a block

// splitmix64 (Steele, Lea and Flood 2014): only schedules are drawn from it.
struct Random {
  std::uint64_t state;
  std::uint64_t below(std::uint64_t n) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % n;
  }
};

// The threads of the block that can run, one bit each.
class RunnableSet {
 public:
  void insert(unsigned i) { words_[i / 64] |= std::uint64_t{1} << i % 64, ++count_; }
  bool empty() const { return count_ == 0; }
  void clear() { words_ = {}, count_ = 0; }

  unsigned take(Order order, Random& random) {
    unsigned i = 0;
    if (order == Order::forward) i = at_or_after(0);
    else if (order == Order::reverse) i = last();
    else i = nth(static_cast<unsigned>(random.below(count_)));
    words_[i / 64] &= ~(std::uint64_t{1} << i % 64), --count_;
    return i;
  }

 private:
  unsigned at_or_after(unsigned word) const {
    while (!words_[word]) ++word;
    return word * 64 + static_cast<unsigned>(std::countr_zero(words_[word]));
  }
  unsigned last() const {
    unsigned word = max_threads / 64 - 1;
    while (!words_[word]) --word;
    return word * 64 + 63 - static_cast<unsigned>(std::countl_zero(words_[word]));
  }
  unsigned nth(unsigned n) const {
    unsigned word = 0;
    for (unsigned here; n >= (here = static_cast<unsigned>(std::popcount(words_[word]))); ++word) n -= here;
    std::uint64_t w = words_[word];
    for (; n; --n) w &= w - 1;
    return word * 64 + static_cast<unsigned>(std::countr_zero(w));
  }

  std::array<std::uint64_t, max_threads / 64> words_{};
  unsigned count_ = 0;
};

}  // namespace ov::sim
