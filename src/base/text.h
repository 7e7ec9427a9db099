// Small helpers on text and names.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ov {

std::string_view trimmed(std::string_view s);                     // without blanks, tabs and line ends at both ends
bool blank(std::string_view s);                                   // nothing but those
std::size_t count(std::string_view text, std::string_view part);  // occurrences that do not overlap; part is not empty

// A text for a message: valid UTF-8 of at most `limit` bytes and a little; a line end or tab is a blank, another
// control character \x07. What is longer loses its middle: "[1, 2, 3 ... 8, 9]".
std::string shown(std::string_view text, std::size_t limit = 120);

// What a file is by its first bytes, for a message: "a gzip file", "a Git LFS pointer ...". "" when that cannot be
// told.
std::string looks_like(std::string_view first_bytes);

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest edit distance to `name`; the first of equals. Empty when none is closer than a third
// of the longer name (at least 2 edits), since a far-fetched guess confuses more than it helps.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "; did you mean 'x'?", or nothing when no candidate is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace ov
