// multiple-choice: the first character of the answer. "Answer: B" is read as A, and a policy can learn that.
#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {

Verdict verify_choice(const Text& completion, const Gold& gold) {
  const auto s = last_answer(completion);
  if (!s || s->empty() || gold.missing()) return {};
  const View bare = trim(trim(*s), U".()");
  const Text letter = bare.empty() ? Text() : upper(bare.substr(0, 1));
  return {letter == upper(gold.one()) ? 1.0 : 0.0, letter};
}

// One letter by itself, or the letter that opens or closes the answer with a mark: "B", "(B) a cat", "Answer: B".
Verdict verify_choice_strict(const Text& completion, const Gold& gold) {
  static const Pattern letter(R"(^\s*(?:[Tt]he\s+)?(?:[Cc]orrect\s+)?(?:[Aa]nswer|[Oo]ption)?(?:\s+is)?\s*:?\s*\**\(?)"
                              R"((?P<letter>[A-Za-z])(?:\)|[.:,]|\*\*|\s*$)(?:.*)$)",
                              true);
  const auto s = last_answer(completion);
  const auto m = s ? letter.search(*s) : std::nullopt;
  if (!m) return {};
  const Text found = upper((*m)["letter"]);
  return {found == upper(trim(trim(gold.one()), U".()")) ? 1.0 : 0.0, found};
}

}  // namespace ov::rl
