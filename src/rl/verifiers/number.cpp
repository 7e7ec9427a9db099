// number: the last run of digits and points, compared as text. "7." and "7.0" are not "7", "-7" is, "1,007" is "007".
#include <cstdlib>

#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {

Verdict verify_number(const Text& completion, const Gold& gold) {
  static const Pattern run("[0-9.]+");
  const Text s = last_answer(completion).value_or(U"");
  if (gold.missing()) return {};
  const auto runs = run.all(s);
  const Text last(runs.empty() ? View() : *runs.back().groups[0]);
  return {last == trim(gold.one()) ? 1.0 : 0.0, last};
}

// The last number with its sign and its thousands, compared as a number.
Verdict verify_number_strict(const Text& completion, const Gold& gold) {
  static const Pattern number(R"((?<![\w.])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-−+]?\.\d+)");
  const auto last = [](View text) -> std::optional<std::string> {
    const auto found = number.all(text);
    if (found.empty()) return std::nullopt;
    return ascii(replace(replace(*found.back().groups[0], U",", U""), U"−", U"-"));
  };
  const auto s = last(last_answer(completion).value_or(U"")), g = last(gold.one());
  if (!s || !g) return {};
  return {std::strtod(s->c_str(), nullptr) == std::strtod(g->c_str(), nullptr) ? 1.0 : 0.0, python::text(*s)};
}

}  // namespace ov::rl
