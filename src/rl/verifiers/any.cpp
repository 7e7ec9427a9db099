// any, and every type without a rule of its own: the same text but for case and blanks around it.
#include "rl/verifiers/verifier.h"

namespace ov::rl {

Verdict verify_any(const Text& completion, const Gold& gold) {
  const auto s = last_answer(completion);
  if (!s || s->empty() || gold.missing()) return {};
  return {lower(trim(*s)) == lower(trim(gold.one())) ? 1.0 : 0.0, *s};
}

}  // namespace ov::rl
