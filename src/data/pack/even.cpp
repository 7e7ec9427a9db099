#include <algorithm>
#include <numeric>
#include <tuple>

#include "data/pack/length_packer.h"

namespace ov {

Packs evenly_placed(Packs packs, std::span<const std::int32_t> rooms, std::span<const std::int32_t> tokens,
                    std::span<const std::int32_t> patches) {
  // Places of the packs' list, which are numbered pack by pack, with those of one kind of sample together.
  const auto at = [](const auto& list, std::int64_t i) { return list[static_cast<std::size_t>(i)]; };
  std::vector<std::int64_t> place(packs.item.size()), sample(packs.item.size());
  std::iota(place.begin(), place.end(), 0);
  std::stable_sort(place.begin(), place.end(), [&](std::int64_t x, std::int64_t y) {
    const std::int64_t a = at(packs.item, x), b = at(packs.item, y);
    return std::tuple(at(rooms, b), at(tokens, b)) < std::tuple(at(rooms, a), at(tokens, a));
  });
  std::transform(place.begin(), place.end(), sample.begin(), [&](std::int64_t p) { return at(packs.item, p); });

  std::vector<std::int64_t> pack_of(packs.item.size()), has(static_cast<std::size_t>(packs.size()));
  for (std::int64_t p = 0; p < packs.size(); ++p)
    std::fill(pack_of.begin() + at(packs.begin, p), pack_of.begin() + at(packs.begin, p + 1), p);
  for (std::size_t begin = 0, end; begin < place.size(); begin = end) {
    const auto kind = [&](std::size_t k) { return std::tuple(at(rooms, sample[k]), at(tokens, sample[k])); };
    for (end = begin + 1; end < place.size() && kind(end) == kind(begin);) ++end;
    const auto b = static_cast<std::ptrdiff_t>(begin), e = static_cast<std::ptrdiff_t>(end);
    std::stable_sort(sample.begin() + b, sample.begin() + e,
                     [&](std::int64_t x, std::int64_t y) { return at(patches, x) > at(patches, y); });
    std::stable_sort(place.begin() + b, place.begin() + e,
                     [&](std::int64_t x, std::int64_t y) { return at(has, at(pack_of, x)) < at(has, at(pack_of, y)); });
    for (std::size_t k = begin; k < end; ++k) {
      packs.item[static_cast<std::size_t>(place[k])] = sample[k];
      has[static_cast<std::size_t>(at(pack_of, place[k]))] += at(patches, sample[k]);
    }
  }
  return packs;
}

}  // namespace ov
