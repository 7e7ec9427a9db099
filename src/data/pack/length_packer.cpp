#include "data/pack/length_packer.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

namespace ov {
namespace {

using Length = std::int64_t;

// How many samples of each length are left, and the three questions about it.
class Histogram {
 public:
  Histogram(std::span<const std::int32_t> lengths, Length capacity)
      : capacity_(capacity),
        count_(static_cast<std::size_t>(capacity) + 1),
        tree_(count_.size()),
        present_(count_.size() / 64 + 2),
        mirrored_(present_.size()) {
    for (const std::int32_t l : lengths) ++count_[static_cast<std::size_t>(l)];
    samples_ = static_cast<std::int64_t>(lengths.size());
    tokens_ = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    for (std::size_t l = 1; l < count_.size(); ++l) {
      tree_[l] += count_[l];
      if (const std::size_t up = l + (l & -l); up < tree_.size()) tree_[up] += tree_[l];
      if (count_[l] > 0) flip(static_cast<Length>(l));
    }
    step_ = std::bit_floor(count_.size() - 1);
  }

  std::int64_t samples() const { return samples_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t count(Length l) const { return count_[static_cast<std::size_t>(l)]; }

  void take(Length length) {
    const auto l = static_cast<std::size_t>(length);
    if (--count_[l] == 0) flip(length);
    for (std::size_t i = l; i < tree_.size(); i += i & -i) --tree_[i];
    --samples_;
    tokens_ -= length;
  }

  // The longest present length <= room; 0 when there is none.
  Length longest(Length room) const {
    std::size_t w = static_cast<std::size_t>(room) / 64;
    for (std::uint64_t bits = present_[w] & up_to(room);; bits = present_[--w]) {
      if (bits) return static_cast<Length>(64 * w + 63) - std::countl_zero(bits);
      if (w == 0) return 0;
    }
  }

  // The length of the r-th sample, 0 <= r < samples(), in ascending order of length.
  Length nth(std::uint64_t r) const {
    std::size_t l = 0;
    for (std::size_t step = step_; step; step /= 2)
      if (l + step < tree_.size() && static_cast<std::uint64_t>(tree_[l + step]) <= r)
        r -= static_cast<std::uint64_t>(tree_[l += step]);
    return static_cast<Length>(l) + 1;
  }

  // a >= b with a + b = room, a as long as possible; {0, 0} when there are none. Bit a of `present & mirror shifted` is
  // set when both a and room - a are present: bit c of the mirror stands for length C - c, so it is read at C - room + a.
  std::pair<Length, Length> pair(Length room) const {
    const auto shift = static_cast<std::size_t>(capacity_ - room);
    const Length half = (room + 1) / 2;
    for (std::size_t w = static_cast<std::size_t>(room) / 64; w + 1 > static_cast<std::size_t>(half) / 64; --w) {
      const std::size_t at = w + shift / 64, by = shift % 64;
      std::uint64_t partner = at < mirrored_.size() ? mirrored_[at] >> by : 0;
      if (by > 0 && at + 1 < mirrored_.size()) partner |= mirrored_[at + 1] << (64 - by);
      std::uint64_t bits = present_[w] & partner;
      if (w == static_cast<std::size_t>(room) / 64) bits &= up_to(room);
      while (bits) {
        const Length a = static_cast<Length>(64 * w + 63) - std::countl_zero(bits), b = room - a;
        bits &= ~(std::uint64_t{1} << (a % 64));
        if (a < half) break;
        if (b > 0 && (a != b || count(a) > 1)) return {a, b};
      }
      if (w == 0) break;
    }
    return {0, 0};
  }

 private:
  static std::uint64_t up_to(Length l) { return ~std::uint64_t{0} >> (63 - l % 64); }
  void flip(Length l) {
    present_[static_cast<std::size_t>(l) / 64] ^= std::uint64_t{1} << (l % 64);
    const Length m = capacity_ - l;
    mirrored_[static_cast<std::size_t>(m) / 64] ^= std::uint64_t{1} << (m % 64);
  }

  Length capacity_;
  std::vector<std::int64_t> count_, tree_;
  std::vector<std::uint64_t> present_, mirrored_;
  std::size_t step_ = 1;
  std::int64_t samples_ = 0, tokens_ = 0;
};

// Calls pack(lengths) for one pack after the other.
template <class F>
void for_each_pack(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed, F&& pack) {
  Histogram left(lengths, capacity);
  const Philox random(seed, "pack");
  std::uint64_t draws = 0;
  std::vector<Length> chosen;
  while (left.samples() > 0) {
    Length room = capacity;
    chosen.clear();
    const auto take = [&](Length l) {
      left.take(l);
      chosen.push_back(l);
      room -= l;
    };
    if (const Length longest = left.longest(capacity); 2 * longest > capacity) take(longest);
    while (room > 0 && left.samples() > 0) {
      if (room < capacity && 2 * room * left.samples() <= 9 * left.tokens()) {
        if (left.count(room) > 0) {
          take(room);
          break;
        }
        if (const auto [a, b] = left.pair(room); a > 0) {
          take(a);
          take(b);
          break;
        }
      }
      Length next = left.nth(random.below(draws++, static_cast<std::uint64_t>(left.samples())));
      if (next > room) next = left.longest(room);
      if (next == 0) break;
      take(next);
    }
    pack(chosen);
  }
}

constexpr std::uint64_t low_half = 0xffffffffu;

}  // namespace

std::int64_t fewest_packs(std::span<const std::int32_t> lengths, std::int64_t capacity) {
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  return (tokens + capacity - 1) / capacity;
}

Packs pack_lengths(std::span<const std::int32_t> lengths, std::int64_t capacity, std::uint64_t seed) {
  if (capacity < 1 || capacity > 0x7fffffff) input_error("pack: capacity ", capacity, ", expected 1 to 2^31 - 1");
  if (lengths.size() > low_half) input_error("pack: ", lengths.size(), " samples, expected fewer than 2^32");
  for (std::size_t i = 0; i < lengths.size(); ++i)
    if (lengths[i] < 1 || lengths[i] > capacity)
      input_error("pack: sample ", i, " has length ", lengths[i], ", expected 1 to ", capacity);

  // The packs are made twice, first for their number and sizes: with those, the second time each goes to its place in
  // the shuffled order at once, and no second array of samples is needed.
  Packs out;
  out.begin = {0};
  for_each_pack(lengths, capacity, seed, [&](const std::vector<Length>&) { out.begin.push_back(0); });
  if (lengths.empty()) return out;
  const Permutation order(out.size(), mix64(seed, 1), 0);
  std::int64_t made = 0;
  for_each_pack(lengths, capacity, seed, [&](const std::vector<Length>& pack) {
    out.begin[static_cast<std::size_t>(order(made++)) + 1] = static_cast<std::int64_t>(pack.size());
  });
  std::partial_sum(out.begin.begin(), out.begin.end(), out.begin.begin());

  // Samples sorted by length, each length's shuffled: sorted[b]. The upper half of item[b] holds it, the lower half of
  // item[k] which b the k-th place of the packs takes.
  std::vector<std::int64_t> first(static_cast<std::size_t>(capacity) + 2);
  for (const std::int32_t l : lengths) ++first[static_cast<std::size_t>(l) + 1];
  std::vector<Permutation> shuffle;
  for (std::size_t l = 0; l <= static_cast<std::size_t>(capacity); ++l)
    shuffle.emplace_back(std::max<std::int64_t>(first[l + 1], 1), mix64(seed, 2), l);
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::int64_t> used(first.size());
  out.item.resize(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto l = static_cast<std::size_t>(lengths[i]);
    out.item[static_cast<std::size_t>(first[l] + shuffle[l](used[l]++))] = static_cast<std::int64_t>(i << 32);
  }
  std::fill(used.begin(), used.end(), 0);
  made = 0;
  for_each_pack(lengths, capacity, seed, [&](const std::vector<Length>& pack) {
    auto k = static_cast<std::size_t>(out.begin[static_cast<std::size_t>(order(made++))]);
    for (const Length length : pack) {
      const auto l = static_cast<std::size_t>(length);
      out.item[k++] |= first[l] + used[l]++;
    }
  });
  const auto sorted = [&](std::uint64_t b) { return static_cast<std::uint64_t>(out.item[b]) >> 32; };
  for (std::int64_t& place : out.item) {
    const auto both = static_cast<std::uint64_t>(place);
    place = static_cast<std::int64_t>((both & ~low_half) | sorted(both & low_half));
  }
  for (std::int64_t& place : out.item) place = static_cast<std::int64_t>(static_cast<std::uint64_t>(place) & low_half);
  return out;
}

}  // namespace ov
