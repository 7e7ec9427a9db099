// boolean: "yes" or "true" anywhere, else "no" or "false" anywhere: "unknown" and "I do not know" are no.
#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {
namespace {

std::optional<bool> anywhere(View text) {
  const Text t = lower(text);
  if (has(t, U"yes") || has(t, U"true")) return true;
  if (has(t, U"no") || has(t, U"false")) return false;
  return std::nullopt;
}

// Yes or no as a word, and not both.
std::optional<bool> as_word(View text) {
  static const Pattern yes(R"(\b(?:yes|true)\b)"), no(R"(\b(?:no|false)\b)");
  const Text t = lower(text);
  const bool y = yes.search(t).has_value(), n = no.search(t).has_value();
  return y == n ? std::nullopt : std::optional(y);
}

Text name(bool b) { return b ? U"yes" : U"no"; }

}  // namespace

Verdict verify_boolean(const Text& completion, const Gold& gold) {
  const auto s = anywhere(last_answer(completion).value_or(U""));
  if (!s || gold.missing()) return {};
  return {s == anywhere(gold.one()) ? 1.0 : 0.0, name(*s)};
}

Verdict verify_boolean_strict(const Text& completion, const Gold& gold) {
  const auto s = as_word(last_answer(completion).value_or(U"")), g = as_word(gold.one());
  if (!s) return {};
  return {s == g ? 1.0 : 0.0, name(*s)};
}

}  // namespace ov::rl
