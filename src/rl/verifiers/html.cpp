// html-code: 0.6 overlap of the sets of tokens + 0.4 of the sets of tags. Order and counts do not matter, nothing is
// rendered, and text without a tag earns its share too.
#include "rl/verifiers/markup.h"
#include "rl/verifiers/verifier.h"

namespace ov::rl {
namespace {

Text html_code(View completion) {
  static const Pattern page("(?:<!DOCTYPE html>|<html>).*?(?:</html>|$)", true, true);
  static const Pattern fence(R"(```(?:html)?\s*(.*?)```)", true);
  if (const auto s = last_answer(completion)) return Text(trim(*s));
  if (const auto pages = page.all(completion); !pages.empty()) return Text(trim(*pages.back().groups[0]));
  if (const auto codes = fence.all(completion); !codes.empty()) return Text(trim(*codes.back().groups[1]));
  return Text(trim(completion));
}

}  // namespace

Verdict verify_html(const Text& completion, const Gold& gold) {
  static const Pattern token(R"(\w+|[<>=/"])"), tag(R"(<(/?\w+))");
  Verdict v{.extracted = html_code(completion)};
  const Text reference(trim(gold.one()));
  const double tokens = jaccard(found_set(token, v.extracted), found_set(token, reference));
  const double tags = jaccard(found_set(tag, v.extracted), found_set(tag, reference));
  v.parts.set("tokens", tokens), v.parts.set("tags", tags);
  v.reward = normalised_markup(v.extracted) == normalised_markup(reference)
                 ? 1.0
                 : std::clamp(0.6 * tokens + 0.4 * tags, 0.0, 1.0);
  return v;
}

// Nothing without a tag.
Verdict verify_html_strict(const Text& completion, const Gold& gold) {
  static const Pattern tag(R"(<\w)");
  Verdict v = verify_html(completion, gold);
  if (!tag.search(v.extracted)) v.reward = 0;
  return v;
}

}  // namespace ov::rl
