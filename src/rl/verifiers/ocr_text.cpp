// ocrtext: 1 - edit distance / length, of the best of the answers; below one half it is 0 (as ANLS has it). Case and
// runs of blanks do not count, though the answer's length is taken before they are collapsed.
#include <algorithm>

#include "rl/verifiers/verifier.h"

namespace ov::rl {
namespace {

constexpr double most_cells = 1e9;  // some seconds: who writes a megabyte must not hold up a run for an hour

// Insertions, deletions and substitutions (Levenshtein); base/text.h also has swaps, and works on bytes.
std::size_t levenshtein(View a, View b) {
  if (a == b) return 0;
  if (static_cast<double>(a.size()) * static_cast<double>(b.size()) > most_cells)
    throw Raised("ocrtext: the texts are too long to compare");
  std::vector<std::size_t> row(a.size() + 1);
  for (std::size_t i = 0; i <= a.size(); ++i) row[i] = i;
  for (std::size_t j = 1; j <= b.size(); ++j) {
    std::size_t diagonal = row[0];
    row[0] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
      const std::size_t above = row[i];
      row[i] = std::min({row[i - 1] + 1, above + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[a.size()];
}

}  // namespace

Verdict verify_ocr_text(const Text& completion, const Gold& gold) {
  const Text s = last_answer(completion).value_or(U"");
  if (s.empty() || gold.missing()) return {};
  if (gold.texts().empty()) throw Raised("the list of answers is empty");
  const Text read = collapse(lower(trim(s)));
  double least = 1e300;
  for (const Text& target : gold.texts()) {
    const std::size_t length = std::max(upper(target).size(), upper(read).size());
    const auto distance = static_cast<double>(levenshtein(collapse(lower(trim(target))), read));
    least = std::min(least, length ? distance / static_cast<double>(length) : 0.0);
  }
  return {1 - least < 0.5 ? 0.0 : 1 - least, s};
}

}  // namespace ov::rl
