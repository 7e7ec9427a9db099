// What is read out of every completion: its answer blocks, and the two rewards on its form.
#include "base/error.h"
#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {
namespace {

// Contents between an opening and the next closing tag, without overlap.
std::vector<Text> blocks(View text, View open, View close) {
  std::vector<Text> out;
  for (std::size_t at = 0;;) {
    const auto begin = text.find(open, at);
    if (begin == text.npos) return out;
    const auto end = text.find(close, begin + open.size());
    if (end == text.npos) return out;
    out.emplace_back(text.substr(begin + open.size(), end - begin - open.size()));
    at = end + close.size();
  }
}

}  // namespace

Gold Gold::of(const Json& answer) {
  Gold g;
  const auto add = [&](const Json& text) {
    if (!text.is_string()) input_error("answer: expected a text, a list of texts or null, got ", answer.shown());
    g.texts_.push_back(python::text(text.as_string()));
  };
  const Json& a = answer.is_array() && answer.size() == 1 ? answer[0] : answer;
  g.missing_ = a.is_null();
  if (a.is_array())
    for (const Json& text : a.items()) add(text);
  else if (!g.missing_) add(a);
  return g;
}

const Text& Gold::one() const {
  if (missing_) throw Raised("the answer is null, expected a text");
  if (texts_.size() != 1) throw Raised(cat("the answer is a list of ", texts_.size(), " texts, expected one text"));
  return texts_[0];
}

std::vector<Text> answer_blocks(View completion) { return blocks(completion, U"<answer>", U"</answer>"); }

std::optional<Text> last_answer(View completion) {
  auto found = answer_blocks(completion);
  return found.empty() ? std::nullopt : std::optional(std::move(found.back()));
}

double think_has_a_box(View completion) {
  static const Pattern box(R"(\[\s*-?\d+(?:\.\d+)?(?:\s*,\s*-?\d+(?:\.\d+)?){3}\s*\])");
  for (const Text& block : blocks(completion, U"<think>", U"</think>"))
    if (box.search(block)) return 1;
  return 0;
}

double format_reward(View completion) {
  std::size_t at = 0;
  for (const View part : {View(U"<think>"), View(U"</think>"), View(U"\\boxed{"), View(U"}")}) {
    at = completion.find(part, at);
    if (at == completion.npos) return 0;
    at += part.size();
  }
  if (count(completion, U"<think>") != 1 || count(completion, U"</think>") != 1) return 0;
  std::size_t boxes = 0;
  for (const Text& block : answer_blocks(completion)) boxes += block.size() + 9;
  return static_cast<double>(boxes) / static_cast<double>(completion.size()) > 0.2 ? 0 : 1;
}

}  // namespace ov::rl
