#include "data/pack/length_packer.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/parallel.h"
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

// What was drawn: the packs' lengths one behind the other, and how many each pack has.
struct Drawn {
  std::vector<std::uint32_t> length, size;
};

Drawn drawn(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed) {
  Packer packer(lengths, capacity, seed);
  Drawn out;
  out.length.reserve(lengths.size());
  for (;;) {
    const std::vector<Length>& chosen = packer.next();
    if (chosen.empty()) return out;
    for (const Length l : chosen) out.length.push_back(static_cast<std::uint32_t>(l));
    out.size.push_back(static_cast<std::uint32_t>(chosen.size()));
  }
}

// The draw whose packs are fewest, of up to 32 that together draw about a million samples; the first that comes within
// one pack of the bound will do. With more samples the end, where draws differ, is too small a part.
Drawn best_draw(std::span<const std::int32_t> lengths, Length capacity, std::uint64_t seed) {
  Drawn best = drawn(lengths, capacity, mix64(seed, 3));
  const auto enough = static_cast<std::size_t>(fewest_packs(lengths, capacity)) + 1;
  const std::uint64_t most = std::clamp<std::uint64_t>(1000000 / std::max<std::size_t>(lengths.size(), 1), 1, 32);
  for (std::uint64_t tries = 1; tries < most && best.size.size() > enough; ++tries)
    if (Drawn other = drawn(lengths, capacity, mix64(seed, 3 + tries)); other.size.size() < best.size.size())
      best = std::move(other);
  return best;
}

// Samples in ascending order of length, each length's shuffled; `work` has room for as many and is overwritten.
std::vector<std::uint32_t> sorted_samples(std::span<const std::int32_t> lengths, const std::vector<std::int64_t>& first,
                                          std::uint64_t seed, std::vector<std::int64_t>& work) {
  std::vector<std::int64_t> used(first.begin(), first.end() - 1);
  for (std::size_t i = 0; i < lengths.size(); ++i)
    work[static_cast<std::size_t>(used[static_cast<std::size_t>(lengths[i])]++)] = static_cast<std::int64_t>(i);
  std::vector<std::uint32_t> sorted(lengths.size());
  const auto of_length = [&](std::size_t l, std::int64_t from, std::int64_t upto) {
    const Permutation shuffle(first[l + 1] - first[l], seed, l);
    for (std::int64_t b = std::max(from, first[l]); b < std::min(upto, first[l + 1]); ++b)
      sorted[static_cast<std::size_t>(first[l] + shuffle(b - first[l]))] =
          static_cast<std::uint32_t>(work[static_cast<std::size_t>(b)]);
  };
  constexpr std::int64_t chunk = 65536;  // a length may be most of them
  parallel_for((first.back() + chunk - 1) / chunk, [&](std::int64_t c) {
    const std::int64_t from = c * chunk, upto = std::min(from + chunk, first.back());
    auto l = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), from) - first.begin()) - 1;
    for (; l + 1 < first.size() && first[l] < upto; ++l)
      if (first[l + 1] > first[l]) of_length(l, from, upto);
  });
  return sorted;
}

constexpr std::size_t most_samples = 0xffffffffu;

}  // namespace

std::int64_t fewest_packs(std::span<const std::int32_t> lengths, std::int64_t capacity) {
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  return (tokens + capacity - 1) / capacity;
}

Packs pack_lengths(std::span<const std::int32_t> lengths, std::int64_t capacity, std::uint64_t seed) {
  if (capacity < 1 || capacity > 0x7fffffff) input_error("pack: capacity ", capacity, ", expected 1 to 2^31 - 1");
  if (lengths.size() > most_samples) input_error("pack: ", lengths.size(), " samples, expected fewer than 2^32");
  for (std::size_t i = 0; i < lengths.size(); ++i)
    if (lengths[i] < 1 || lengths[i] > capacity)
      input_error("pack: sample ", i, " has length ", lengths[i], ", expected 1 to ", capacity);

  Packs out;
  out.begin = {0};
  if (lengths.empty()) return out;
  Drawn draw = best_draw(lengths, capacity, seed);
  const auto packs = static_cast<std::int64_t>(draw.size.size());
  const Permutation order(packs, mix64(seed, 1), 0);
  out.begin.resize(draw.size.size() + 1);
  for (std::int64_t p = 0; p < packs; ++p)
    out.begin[static_cast<std::size_t>(order(p)) + 1] = draw.size[static_cast<std::size_t>(p)];
  std::partial_sum(out.begin.begin(), out.begin.end(), out.begin.begin());

  const auto longest = static_cast<std::size_t>(*std::max_element(lengths.begin(), lengths.end()));
  std::vector<std::int64_t> first(longest + 2);  // of each length, among the samples sorted by it
  for (const std::int32_t l : lengths) ++first[static_cast<std::size_t>(l) + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  out.item.resize(lengths.size());
  const std::vector<std::uint32_t> sorted = sorted_samples(lengths, first, mix64(seed, 2), out.item);

  // Each drawn length becomes the place of its sample in `sorted`, then goes to the pack's place in the shuffled order.
  for (std::uint32_t& l : draw.length) l = static_cast<std::uint32_t>(first[l]++);
  constexpr std::int64_t chunk = 4096;  // packs
  std::vector<std::int64_t> chunk_begin = {0};
  for (std::int64_t p = 0, samples = 0; p < packs; ++p) {
    samples += draw.size[static_cast<std::size_t>(p)];
    if ((p + 1) % chunk == 0) chunk_begin.push_back(samples);
  }
  parallel_for((packs + chunk - 1) / chunk, [&](std::int64_t c) {
    auto at = static_cast<std::size_t>(chunk_begin[static_cast<std::size_t>(c)]);
    for (std::int64_t p = c * chunk; p < std::min((c + 1) * chunk, packs); ++p) {
      auto k = static_cast<std::size_t>(out.begin[static_cast<std::size_t>(order(p))]);
      for (std::uint32_t i = 0; i < draw.size[static_cast<std::size_t>(p)]; ++i)
        out.item[k++] = sorted[draw.length[at++]];
    }
  });
  return out;
}

}  // namespace ov
