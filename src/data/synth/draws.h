// Every random choice of the toy world: one Philox stream per scene, read front to back.
//
// A stream is named by (seed, purpose, scene index), so a scene does not depend on the others, on the thread that draws
// it or on the order in which scenes are asked for. Integers only: the same choices on every machine.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/rng.h"

namespace ov::synth {

class Draws {
 public:
  // index below 2^32.
  Draws(std::uint64_t seed, std::string_view purpose, std::uint64_t index) : philox_(seed, purpose, index) {}

  std::uint32_t next() {
    if (used_ == 4) {
      block_ = philox_.block(element_++);
      used_ = 0;
    }
    return block_.word[used_++];
  }
  // Uniform in [0, n), 1 <= n. The bias of the product is below n / 2^32.
  int below(int n) { return static_cast<int>((std::uint64_t{next()} * static_cast<std::uint64_t>(n)) >> 32); }
  int between(int low, int high) { return low + below(high - low + 1); }  // both ends included
  // A lattice point, step times [0, n), moved by low..high. C++ leaves the order of operands and arguments open, so two
  // draws never stand in one expression: here they are two statements.
  int lattice(int step, int n, int low, int high) {
    const int at = step * below(n);
    return at + between(low, high);
  }
  bool percent(int p) { return below(100) < p; }

  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<std::size_t>(below(static_cast<int>(from.size())))];
  }
  template <class T>
  void shuffle(std::vector<T>& v) {
    for (std::size_t i = v.size(); i > 1; --i)
      std::swap(v[i - 1], v[static_cast<std::size_t>(below(static_cast<int>(i)))]);
  }
  // k different numbers of [0, n), in random order.
  std::vector<int> distinct(int k, int n) {
    std::vector<int> all(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) all[static_cast<std::size_t>(i)] = i;
    for (int i = 0; i < k; ++i)
      std::swap(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(between(i, n - 1))]);
    all.resize(static_cast<std::size_t>(k));
    return all;
  }
  // k different elements of v, in random order.
  template <class T>
  std::vector<T> sample(const std::vector<T>& v, int k) {
    std::vector<T> out;
    for (int i : distinct(k, static_cast<int>(v.size()))) out.push_back(v[static_cast<std::size_t>(i)]);
    return out;
  }
  // An index, drawn with probability weight / sum of weights.
  std::size_t weighted(const std::vector<int>& weights) {
    int total = 0;
    for (int w : weights) total += w;
    int at = below(total);
    std::size_t i = 0;
    while (at >= weights[i]) at -= weights[i++];
    return i;
  }

 private:
  Philox philox_;
  std::uint64_t element_ = 0;
  PhiloxBlock block_{};
  int used_ = 4;
};

}  // namespace ov::synth
