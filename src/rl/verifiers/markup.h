// What the verifiers of HTML and SVG share: sets of tokens and tags, and their overlap.
#pragma once
#include <algorithm>
#include <set>

#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {

// Blanks collapsed, quotes alike, comments out, lower case.
inline Text normalised_markup(View text) {
  static const Pattern blanks(R"(\s+)"), comment("<!--.*?-->", true);
  return lower(trim(comment.replace(replace(blanks.replace(text, " "), U"\"", U"'"), "")));
}

// The set of what `pattern` finds in the lower-cased text: its first group where it has one.
inline std::set<Text> found_set(const Pattern& pattern, View text) {
  std::set<Text> out;
  const Text low = lower(text);
  for (const Match& m : pattern.all(low)) out.emplace(m.groups.back().value());
  return out;
}

// |a and b| / |a or b|; 0 when the reference b is empty.
inline double jaccard(const std::set<Text>& a, const std::set<Text>& b) {
  if (b.empty()) return 0;
  const auto both = std::count_if(a.begin(), a.end(), [&](const Text& t) { return b.count(t) > 0; });
  return static_cast<double>(both) / static_cast<double>(a.size() + b.size() - static_cast<std::size_t>(both));
}

}  // namespace ov::rl
