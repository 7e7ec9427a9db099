// Verifiers: what a completion earns for an answer, by the rules of LLaVA-OneVision-1.5-RL (reward/*.py at 9f9ce7d, 19
// December 2025). One file a kind. Equal to the original in every case, its quirks included; where a rule is plainly at
// fault a `strict` twin stands beside it, under its own name ("number-strict").
//
// Where the original throws, ours throws Raised: the dispatcher (reward.h) then gives 0, counts it and says why.
#pragma once
#include <optional>
#include <stdexcept>

#include "base/json.h"
#include "text/python.h"

namespace ov::rl {

using namespace python;

struct Raised : std::runtime_error {
  using runtime_error::runtime_error;
};

// The reference answer of a record: one text, a list of several, or none (null). A list of one is that one.
class Gold {
 public:
  static Gold of(const Json& answer);  // input_error for anything else
  const std::vector<Text>& texts() const { return texts_; }
  bool missing() const { return missing_; }
  const Text& one() const;  // Raised when there is not one text: only ocrtext takes several

 private:
  std::vector<Text> texts_ = {};
  bool missing_ = false;
};

struct Verdict {
  double reward = 0;
  Text extracted = {};          // what was read out of the completion
  Json parts = Json::object();  // what else a kind has to say: level, tokens, tags
};

using Verifier = Verdict (*)(const Text& completion, const Gold& gold);

// Contents of <answer>..</answer>, from left to right; the verifiers read the last.
std::vector<Text> answer_blocks(View completion);
std::optional<Text> last_answer(View completion);

// 1 when any <think>..</think> holds a bracketed list of four numbers: the only process reward. Content is not checked.
double think_has_a_box(View completion);
// Of no weight in the original: one think block, then \boxed{..}, and answers that are short beside the whole.
double format_reward(View completion);

Verdict verify_choice(const Text& completion, const Gold& gold);
Verdict verify_number(const Text& completion, const Gold& gold);
Verdict verify_boolean(const Text& completion, const Gold& gold);
Verdict verify_critic(const Text& completion, const Gold& gold);
Verdict verify_any(const Text& completion, const Gold& gold);
Verdict verify_box(const Text& completion, const Gold& gold);
Verdict verify_ocr_text(const Text& completion, const Gold& gold);
Verdict verify_math(const Text& completion, const Gold& gold);
Verdict verify_html(const Text& completion, const Gold& gold);
Verdict verify_svg(const Text& completion, const Gold& gold);
Verdict verify_code(const Text& completion, const Gold& gold);

Verdict verify_choice_strict(const Text& completion, const Gold& gold);
Verdict verify_number_strict(const Text& completion, const Gold& gold);
Verdict verify_boolean_strict(const Text& completion, const Gold& gold);
Verdict verify_box_strict(const Text& completion, const Gold& gold);
Verdict verify_box_bare(const Text& completion, const Gold& gold);
Verdict verify_html_strict(const Text& completion, const Gold& gold);
Verdict verify_math_strict(const Text& completion, const Gold& gold);

}  // namespace ov::rl
