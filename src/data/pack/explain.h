// What packing can come to for given lengths, without any data: how many samples a pack holds is bounded by the
// capacity over the mean length, so "up to 11x" of the release (85 M samples in 7.84 M packs, 10.84 a pack) says that
// its samples have about 756 tokens, and nothing of the packer. What a packer decides is the fill.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

// `samples` lengths of
//   "released"   the statistics of 5.5 M instruction samples that the release ships: 74.8 % below 1024, 19.7 % in 1024
//                to 2047, 3.7 % in 2074 to 4111, 1.6 % to 6149, 0.05 % to 8187. They say nothing of what lies inside a
//                range: the shorter the likelier (logarithm uniform), from 165 on: a mean of 845
//   "captions"   e^x of a normal x around log 619, deviation 0.63, cut to 40 to 4000: a mean of 753, near that of the
//                85 M captions
// or those of a file, one a line; `samples` is not used then.
std::vector<std::int32_t> example_lengths(const std::string& name, std::int64_t samples, std::uint64_t seed);

// samples, mean, longest, capacity, samples_per_pack and its limit capacity / mean, packs and their lower bound, fill;
// beside it the fill of a row a sample and of next-fit (a new row where the next sample does not fit), and seconds.
Json explain_packing(const std::vector<std::int32_t>& lengths, std::int64_t capacity, std::uint64_t seed);

}  // namespace ov
