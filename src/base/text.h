// Small helpers on names.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ov {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest edit distance to `name`; the first of equals. Empty when none is closer than a third
// of the longer name (at least 2 edits), since a far-fetched guess confuses more than it helps.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean 'x'?", or nothing when no candidate is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace ov
