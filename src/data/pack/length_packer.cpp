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
  explicit Histogram(std::span<const std::int32_t> lengths)
      : most_(*std::max_element(lengths.begin(), lengths.end())),
        count_(static_cast<std::size_t>(most_) + 1),
        tree_(count_.size()),
        present_(count_.size() / 64 + 2),
        mirrored_(2 * present_.size()) {
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
  std::int64_t count(Length l) const { return l <= most_ ? count_[static_cast<std::size_t>(l)] : 0; }

  void take(Length length) {
    if (change(length, -1) == 0) flip(length);
  }
  void put_back(Length length) {
    if (change(length, 1) == 1) flip(length);
  }

  // The longest present length <= room; 0 when there is none.
  Length longest(Length room) const {
    room = std::min(room, most_);
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

  struct Pair {
    Length a = 0, b = 0;
    std::int64_t ways = 0;  // how many two samples have these lengths
  };
  // Appends a >= b with a + b = room: all of them, or at least `enough`, from word `start` of the range on. Bit a of
  // `present & mirror shifted` is set when both a and room - a are present: bit c of the mirror stands for length 2 L
  // - c, L the longest, so it is read at 2 L - room + a.
  void pairs(Length room, std::uint64_t start, std::size_t enough, std::vector<Pair>* out) const {
    if (room > 2 * most_) return;
    const auto shift = static_cast<std::size_t>(2 * most_ - room);
    const Length half = (room + 1) / 2;
    const std::size_t first = static_cast<std::size_t>(half) / 64, words = pair_words(room);
    for (std::size_t k = 0; k < words && out->size() < enough; ++k) {
      const std::size_t w = first + (start + k) % words, at = w + shift / 64, by = shift % 64;
      if (w >= present_.size()) continue;
      std::uint64_t partner = at < mirrored_.size() ? mirrored_[at] >> by : 0;
      if (by > 0 && at + 1 < mirrored_.size()) partner |= mirrored_[at + 1] << (64 - by);
      for (std::uint64_t bits = present_[w] & partner; bits; bits &= bits - 1) {
        const Length x = static_cast<Length>(64 * w) + std::countr_zero(bits), y = room - x;
        if (x < half || y < 1) continue;
        const auto some = [&](Length l) { return std::min(count(l), std::int64_t{1} << 24); };  // no overflow
        const std::int64_t ways = x == y ? some(x) * (some(x) - 1) / 2 : some(x) * some(y);
        if (ways > 0) out->push_back({x, y, ways});
      }
    }
  }
  static std::size_t pair_words(Length room) {
    return static_cast<std::size_t>(room) / 64 - static_cast<std::size_t>((room + 1) / 2) / 64 + 1;
  }

 private:
  std::int64_t change(Length length, std::int64_t by) {
    const auto l = static_cast<std::size_t>(length);
    for (std::size_t i = l; i < tree_.size(); i += i & -i) tree_[i] += by;
    samples_ += by;
    tokens_ += by * length;
    return count_[l] += by;
  }
  static std::uint64_t up_to(Length l) { return ~std::uint64_t{0} >> (63 - l % 64); }
  void flip(Length l) {
    present_[static_cast<std::size_t>(l) / 64] ^= std::uint64_t{1} << (l % 64);
    const Length m = 2 * most_ - l;
    mirrored_[static_cast<std::size_t>(m) / 64] ^= std::uint64_t{1} << (m % 64);
  }

  Length most_;  // the longest there was: what is kept goes with it, not with the capacity
  std::vector<std::int64_t> count_, tree_;
  std::vector<std::uint64_t> present_, mirrored_;
  std::size_t step_ = 1;
  std::int64_t samples_ = 0, tokens_ = 0;
};

class Packer {
 public:
  Packer(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed)
      : left_(lengths), capacity_(capacity), random_(seed, "pack") {}

  // The lengths of the next pack; nothing when no sample is left.
  const std::vector<Length>& next() {
    chosen_.clear();
    room_ = capacity_;
    if (left_.samples() == 0) return chosen_;
    if (const Length longest = left_.longest(capacity_); 2 * longest > capacity_) take(longest);
    while (room_ > 0 && left_.samples() > 0) {
      if (room_ < capacity_ && within(room_, 9) && fill(room_)) break;
      Length length = draw();
      for (int tries = 1; tries < 16 && room_ < capacity_ && within(room_, 11) && !completes(length); ++tries)
        length = draw();
      if (length > room_) length = left_.longest(room_);
      if (length == 0) break;
      take(length);
    }
    return chosen_;
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_.below(draws_++, n); }
  Length draw() { return left_.nth(below(static_cast<std::uint64_t>(left_.samples()))); }
  // Whether `room` is at most that many halves of the mean length left.
  bool within(Length room, std::int64_t halves) const { return 2 * room * left_.samples() <= halves * left_.tokens(); }

  void take(Length length) {
    left_.take(length);
    chosen_.push_back(length);
    room_ -= length;
  }

  void find_pairs(Length room) {
    pairs_.clear();
    left_.pairs(room, below(Histogram::pair_words(room)), 64, &pairs_);
  }

  // One or two lengths that sum to room; two in proportion to how many samples can be such a pair.
  bool fill(Length room) {
    if (left_.count(room) > 0) {
      take(room);
      return true;
    }
    find_pairs(room);
    if (pairs_.empty()) return false;
    std::int64_t ways = 0;
    for (const Histogram::Pair& p : pairs_) ways += p.ways;
    auto chosen = static_cast<std::int64_t>(below(static_cast<std::uint64_t>(ways)));
    std::size_t i = 0;
    while (chosen >= pairs_[i].ways) chosen -= pairs_[i++].ways;
    const auto [a, b, w] = pairs_[i];
    take(a);
    take(b);
    return true;
  }

  // Whether the room behind this length can be filled by one or two others.
  bool completes(Length length) {
    if (length >= room_) return length == room_;
    const Length rest = room_ - length;
    left_.take(length);
    bool found = left_.count(rest) > 0;
    if (!found) {
      find_pairs(rest);
      found = !pairs_.empty();
    }
    left_.put_back(length);
    return found;
  }

  Histogram left_;
  const Length capacity_;
  const Philox random_;
  std::uint64_t draws_ = 0;
  Length room_ = 0;
  std::vector<Length> chosen_;
  std::vector<Histogram::Pair> pairs_;
};

// Calls pack(lengths) for one pack after the other.
template <class F>
void for_each_pack(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed, F&& pack) {
  Packer packer(lengths, capacity, seed);
  for (;;) {
    const std::vector<Length>& chosen = packer.next();
    if (chosen.empty()) return;
    pack(chosen);
  }
}

// The seed of the draw whose packs are fewest, of up to 32 that together draw about a million samples; the first that
// comes within one pack of the bound will do. With more samples the end, where draws differ, is too small a part.
std::uint64_t best_draw(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed) {
  std::uint64_t best = mix64(seed, 3);
  std::int64_t fewest = -1;
  const std::uint64_t most = std::clamp<std::uint64_t>(1000000 / std::max<std::size_t>(lengths.size(), 1), 1, 32);
  for (std::uint64_t tries = 0; tries < most; ++tries) {
    std::int64_t packs = 0;
    for_each_pack(lengths, capacity, mix64(seed, 3 + tries), [&](const std::vector<Length>&) { ++packs; });
    if (fewest >= 0 && packs >= fewest) continue;
    fewest = packs;
    best = mix64(seed, 3 + tries);
    if (packs <= fewest_packs(lengths, capacity) + 1) break;
  }
  return best;
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

  // The packs are made again for their number, their sizes and their lengths: with the first two, each goes to its
  // place in the shuffled order at once, and no second array of samples is needed.
  Packs out;
  out.begin = {0};
  if (lengths.empty()) return out;
  const std::uint64_t draw = best_draw(lengths, capacity, seed);
  for_each_pack(lengths, capacity, draw, [&](const std::vector<Length>&) { out.begin.push_back(0); });
  const Permutation order(out.size(), mix64(seed, 1), 0);
  std::int64_t made = 0;
  for_each_pack(lengths, capacity, draw, [&](const std::vector<Length>& pack) {
    out.begin[static_cast<std::size_t>(order(made++)) + 1] = static_cast<std::int64_t>(pack.size());
  });
  std::partial_sum(out.begin.begin(), out.begin.end(), out.begin.begin());

  // Samples sorted by length, each length's shuffled: sorted[b]. The upper half of item[b] holds it, the lower half of
  // item[k] which b the k-th place of the packs takes.
  const auto longest = static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  std::vector<std::int64_t> first(longest + 2);
  for (const std::int32_t l : lengths) ++first[static_cast<std::size_t>(l) + 1];
  std::vector<Permutation> shuffle;
  for (std::size_t l = 0; l <= longest; ++l)
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
  for_each_pack(lengths, capacity, draw, [&](const std::vector<Length>& pack) {
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
