// Bin packing of sample lengths into rows of C tokens, from the histogram of lengths alone.
//
// One pack at a time:
//   1. the longest length left, while that is above C/2 (no two of those share a pack); else a length drawn in
//      proportion to how many samples are left of each
//   2. with at most 4.5 mean lengths of room left: the one or two lengths that fill it exactly, where they exist; of
//      several pairs one drawn in proportion to how many samples could be that pair
//   3. else another drawn length: with at most 5.5 means of room, of 16 draws the first behind which step 2 will do.
//      One that does not fit gives way to the longest that does; none fits: the pack ends
//
// Best-fit decreasing leaves the short samples for the end and packs one length after the other. Draws in proportion
// keep the packs alike and the mix of what is left unchanged, so that exact fills are found until the last packs: with
// 16 000 samples of 2.7 a pack at most one pack above the bound, where best-fit decreasing needs 154 more.
//
// A set of non-empty lengths, one bit each, answers "the longest of at most r" and, laid over its mirror image, "which
// two sum to r" 64 lengths at a time; a binary indexed tree answers the draw.
//
// Which sample of a length goes where is a seeded shuffle of each length's samples, and the packs' order a shuffle of
// its own: neither rises or falls with length (no curriculum).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ov {

// Pack p holds item[begin[p]] .. item[begin[p + 1] - 1].
struct Packs {
  std::vector<std::int64_t> begin;  // [packs + 1]
  std::vector<std::int64_t> item;   // [N] a permutation of 0 .. N - 1

  std::int64_t size() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  std::span<const std::int64_t> operator[](std::int64_t p) const {
    const auto b = static_cast<std::size_t>(begin[static_cast<std::size_t>(p)]);
    const auto e = static_cast<std::size_t>(begin[static_cast<std::size_t>(p) + 1]);
    return {item.data() + b, e - b};
  }
};

// Every sample once, no pack above the capacity. A function of its arguments, whatever the number of threads; memory
// beside the result is 8 bytes a sample, 4 a pack and O(longest length). Throws input_error for a length below 1 or
// above the capacity, and for 2^32 samples or more.
Packs pack_lengths(std::span<const std::int32_t> lengths, std::int64_t capacity, std::uint64_t seed);

// The same packs of lengths with other samples in their places. Samples of one room and one number of tokens may change
// places, whatever else they are: of those, longest first, the one with the most patches goes to the pack that has the
// fewest so far, and so on. Equal ones keep their shuffled order. A picture costs the tower time that its tokens do not
// show, and a step waits for its slowest pack.
Packs evenly_placed(Packs packs, std::span<const std::int32_t> rooms, std::span<const std::int32_t> tokens,
                    std::span<const std::int32_t> patches);

// ⌈Σ lengths / C⌉: no packing has fewer packs.
std::int64_t fewest_packs(std::span<const std::int32_t> lengths, std::int64_t capacity);

}  // namespace ov
