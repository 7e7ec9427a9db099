// Random numbers without state: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
// 1, 2, 3").
//
// A value is a function of (seed, purpose, step, element), so it does not depend on threads, ranks, order or a resume.
//   key      seed, 64 bits
//   counter  words 0, 1: block of the element; word 2: step; word 3: FNV-1a of the purpose folded to 32 bits
// The accessors below read the same blocks: use one kind of value per (purpose, step).
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/hash.h"
#include "base/math.h"

namespace ov {

struct PhiloxBlock {
  std::uint32_t word[4];
};

// Ten rounds; between rounds the key grows by the golden ratio and √3 - 1 (Weyl sequence).
OV_HD constexpr PhiloxBlock philox4x32_10(PhiloxBlock counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xd2511f53u} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xcd9e8d57u} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<std::uint32_t>(a)}};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

class Philox {
 public:
  // `purpose` separates streams: "init", "dropout", "sampling".
  constexpr Philox(std::uint64_t seed, std::string_view purpose, std::uint64_t step = 0)
      : seed_(seed), step_(static_cast<std::uint32_t>(step)), purpose_(fold(fnv1a(purpose))) {
    if (step >> 32) input_error("Philox: step is ", step, ", expected below 2^32");
  }

  OV_HD constexpr PhiloxBlock block(std::uint64_t b) const {
    return encrypt({{static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), step_, purpose_}});
  }

  // Element i of the stream, uniform over 32 and 64 bits.
  constexpr std::uint32_t u32(std::uint64_t i) const { return block(i / 4).word[i % 4]; }
  constexpr std::uint64_t u64(std::uint64_t i) const { return pair(block(i / 2), static_cast<int>(i % 2)); }

  // Uniform in [0, 1): multiples of 2^-24 and of 2^-53.
  constexpr float uniform_f32(std::uint64_t i) const { return static_cast<float>(u32(i) >> 8) * 0x1p-24f; }
  constexpr double uniform_f64(std::uint64_t i) const { return static_cast<double>(u64(i) >> 11) * 0x1p-53; }

  // Standard normal, Box and Muller: a block gives two radii and two angles, hence four values. |z| < 6.8.
  float normal(std::uint64_t i) const {
    const PhiloxBlock b = block(i / 4);
    const int first = static_cast<int>(i % 4) & 2;
    const float u = (static_cast<float>(b.word[first]) + 0.5f) * 0x1p-32f;  // (0, 1]
    const float angle = static_cast<float>(b.word[first + 1] >> 8) * (0x1p-24f * 6.28318531f);
    const float radius = std::sqrt(-2.0f * math::log(u));
    return radius * (i & 1 ? math::sin(angle) : math::cos(angle));
  }

  // Uniform in [0, n), n >= 1, without bias (Lemire 2019): the high half of u·n, where u is drawn again when the low
  // half falls into the 2^64 mod n values that would be one too many. Further draws encrypt the block again.
  std::uint64_t below(std::uint64_t i, std::uint64_t n) const {
    if (n == 0) input_error("Philox::below: n is 0, expected at least 1");
    const std::uint64_t surplus = (0 - n) % n;
    for (PhiloxBlock b = block(i);; b = encrypt(b)) {
      for (const int half : {0, 1}) {
        const auto product = static_cast<unsigned __int128>(pair(b, half)) * n;
        if (static_cast<std::uint64_t>(product) >= surplus) return static_cast<std::uint64_t>(product >> 64);
      }
    }
  }

 private:
  static constexpr std::uint32_t fold(std::uint64_t h) { return static_cast<std::uint32_t>(h ^ (h >> 32)); }
  static constexpr std::uint64_t pair(const PhiloxBlock& b, int half) {
    return b.word[2 * half] | static_cast<std::uint64_t>(b.word[2 * half + 1]) << 32;
  }
  OV_HD constexpr PhiloxBlock encrypt(const PhiloxBlock& counter) const {
    return philox4x32_10(counter, static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32));
  }

  std::uint64_t seed_;
  std::uint32_t step_, purpose_;
};

// Words of a stream one after another, from element `first` on: a block is made for each four.
class PhiloxWords {
 public:
  OV_HD constexpr PhiloxWords(const Philox& random, std::uint64_t first)
      : random_(random), next_(first), block_(random.block(first / 4)) {}
  OV_HD constexpr std::uint32_t operator()() {
    const auto k = next_ % 4;  // a GPU keeps the block in registers, which have no index
    const std::uint32_t word = k == 0   ? block_.word[0]
                               : k == 1 ? block_.word[1]
                               : k == 2 ? block_.word[2]
                                        : block_.word[3];
    if (++next_ % 4 == 0) block_ = random_.block(next_ / 4);
    return word;
  }

 private:
  Philox random_;
  std::uint64_t next_;
  PhiloxBlock block_;
};

// A seeded permutation of [0, n) that is computed, not stored: position i of epoch e reads record Permutation(n,
// seed, e)(i).
//
// A balanced Feistel network of 12 rounds over the smallest 2^2h >= n is a bijection there; an image outside [0, n)
// is fed through again (cycle walking, Black and Rogaway 2002; under 4 passes on average), which keeps it a bijection
// on [0, n).
class Permutation {
 public:
  Permutation(std::int64_t n, std::uint64_t seed, std::uint64_t epoch) : n_(static_cast<std::uint64_t>(n)) {
    if (n < 1) input_error("Permutation: n is ", n, ", expected at least 1");
    while (half_bits_ < 31 && (n_ - 1) >> (2 * half_bits_)) ++half_bits_;
    if ((n_ - 1) >> (2 * half_bits_)) input_error("Permutation: n is ", n, ", expected at most 2^62");
    const Philox random(seed, "permutation", epoch);
    for (std::size_t r = 0; r < key_.size(); ++r) key_[r] = random.u64(r);
  }

  std::int64_t size() const { return static_cast<std::int64_t>(n_); }

  std::int64_t operator()(std::int64_t i) const {
    if (i < 0 || i >= size()) input_error("Permutation: position ", i, ", expected 0 to ", size() - 1);
    std::uint64_t x = static_cast<std::uint64_t>(i);
    do x = network(x);
    while (x >= n_);
    return static_cast<std::int64_t>(x);
  }

 private:
  std::uint64_t network(std::uint64_t x) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = x >> half_bits_, right = x & mask;
    for (const std::uint64_t key : key_) {
      const std::uint64_t next = left ^ (mix64(key ^ right) & mask);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  std::uint64_t n_;
  int half_bits_ = 1;
  std::array<std::uint64_t, 12> key_{};
};

}  // namespace ov
