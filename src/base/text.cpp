#include "base/text.h"

#include <algorithm>
#include <cstdlib>

namespace ov {

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table d[i][j] = distance of a's first i from b's first j characters.
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest;
  int least = -1;
  for (const std::string& candidate : candidates) {
    const auto longer = static_cast<int>(std::max(name.size(), candidate.size()));
    const auto shorter = static_cast<int>(std::min(name.size(), candidate.size()));
    const int limit = std::max(2, longer / 3);
    if (longer - shorter > limit || (least >= 0 && longer - shorter >= least)) continue;
    const int distance = edit_distance(name, candidate);
    if (distance > limit || (least >= 0 && distance >= least)) continue;
    nearest = candidate;
    least = distance;
  }
  return nearest;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

}  // namespace ov
