// svg-code: 0.25 (overlap of tokens + of tags) + 0.5 structural similarity of the two pictures. Nothing here draws SVG,
// so the picture term is 0 and the verdict says `svg-text-only`: two equal texts earn 1, others at most 0.5.
#include "rl/verifiers/markup.h"
#include "rl/verifiers/verifier.h"

namespace ov::rl {
namespace {

bool has_svg(View text) { return has(lower(text), U"<svg"); }

Text svg_code(View completion) {
  static const Pattern picture("<svg[^>]*>.*?</svg>", true, true), fence(R"(```(?:svg|xml)?\s*(.*?)```)", true);
  if (const auto s = last_answer(completion); s && has_svg(*s)) return Text(trim(*s));
  if (const auto found = picture.all(completion); !found.empty()) return Text(trim(*found.back().groups[0]));
  if (const auto codes = fence.all(completion); !codes.empty())
    if (const View code = trim(*codes.back().groups[1]); has_svg(code)) return Text(code);
  return Text(trim(completion));
}

}  // namespace

Verdict verify_svg(const Text& completion, const Gold& gold) {
  static const Pattern token(R"(\w+|[<>=/"]|#[0-9a-fA-F]+)"), tag(R"(<([a-zA-Z]+)[^>]*>)");
  Verdict v{.extracted = svg_code(completion)};
  const Text reference(trim(gold.one()));
  const double tokens = jaccard(found_set(token, v.extracted), found_set(token, reference));
  const double tags = jaccard(found_set(tag, v.extracted), found_set(tag, reference));
  v.parts.set("tokens", tokens), v.parts.set("tags", tags), v.parts.set("svg-text-only", true);
  if (!has_svg(v.extracted)) return v;
  v.reward = normalised_markup(v.extracted) == normalised_markup(reference)
                 ? 1.0
                 : std::clamp(0.25 * (tokens + tags), 0.0, 1.0);
  return v;
}

}  // namespace ov::rl
