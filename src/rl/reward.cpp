#include "rl/reward.h"

#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"
#include "store/jsonl.h"
#include "text/pattern.h"

namespace ov::rl {
namespace {

const std::map<std::string, Verifier>& verifiers() {
  static const std::map<std::string, Verifier> table = {
      {"multiple-choice", verify_choice},
      {"number", verify_number},
      {"boolean", verify_boolean},
      {"bool", verify_boolean},
      {"critic", verify_critic},
      {"any", verify_any},
      {"bbox", verify_box},
      {"ocrtext", verify_ocr_text},
      {"math-expressions", verify_math},
      {"math-expression", verify_math},
      {"html-code", verify_html},
      {"svg-code", verify_svg},
      {"general-code", verify_code},
      {"multiple-choice-strict", verify_choice_strict},
      {"number-strict", verify_number_strict},
      {"boolean-strict", verify_boolean_strict},
      {"bbox-strict", verify_box_strict},
      {"bbox-bare", verify_box_bare},
      {"html-code-strict", verify_html_strict},
      {"math-expressions-strict", verify_math_strict},
  };
  return table;
}

}  // namespace

Verifier verifier_of(const std::string& answer_type) {
  const auto it = verifiers().find(answer_type);
  return it == verifiers().end() ? verify_any : it->second;
}

std::vector<std::string> answer_types() {
  std::vector<std::string> names;
  for (const auto& [name, verifier] : verifiers()) names.push_back(name);
  return names;
}

std::string said_of_unknown_types(const std::map<std::string, std::int64_t>& counts) {
  std::string unknown, known;
  for (const auto& [type, n] : counts)
    if (!verifiers().count(type)) unknown += cat(unknown.empty() ? "" : ", ", "'", type, "' (", n, ")");
  for (const std::string& type : answer_types()) known += cat(known.empty() ? "" : " ", type);
  if (unknown.empty()) return "";
  return cat("answer_type ", unknown, ": no verifier has this name; compared as a text, as any; there are ", known);
}

Reward reward(const std::string& completion, const Json& answer, const std::string& answer_type,
              const std::string& problem_type) {
  return reward_by(verifier_of(answer_type), completion, answer, problem_type);
}

Reward reward_by(Verifier verifier, const std::string& completion, const Json& answer,
                 const std::string& problem_type) {
  const Text text = python::text(completion);
  const Gold gold = Gold::of(answer);
  Reward r;
  try {
    Verdict v = verifier(text, gold);
    r.accuracy = r.reward = v.reward;
    r.extracted = python::utf8(v.extracted);
    r.parts = std::move(v.parts);
    if (problem_type == "spatial-reasoning") {
      r.box_in_think = think_has_a_box(text);
      r.reward += *r.box_in_think * 0.5;
    }
  } catch (const std::exception& e) { r.raised = *e.what() ? e.what() : "a verifier threw without a word"; }
  if (!r.raised.empty()) r.extracted = python::utf8(last_answer(text).value_or(U""));
  return r;
}

RewardCounts reward_lines(const std::string& in, const std::string& out) {
  JsonlReader lines(in);
  DurableWriter file(out);
  RewardCounts counts;
  for (Json line; lines.next(&line); ++counts.lines) {
    const auto wrong = [&](const char* expected) {
      input_error(in, ":", lines.line(), ": expected ", expected, ", got ", line.shown());
    };
    if (!line.is_object()) wrong("an object");
    const auto text = [&](const char* key) -> const std::string& {
      const Json* v = line.find(key);
      if (!v || !v->is_string()) wrong(cat("a string \"", key, "\"").c_str());
      return v->as_string();
    };
    const std::string& completion = text("completion");
    const std::string& type = text("answer_type");
    ++counts.types[type];
    const std::string problem = line.find("problem_type") ? text("problem_type") : "";
    const Json* answer = line.find("answer");
    if (!answer) wrong("an \"answer\", a text or a list of texts");
    Reward r;
    try {
      r = reward(completion, *answer, type, problem);
    } catch (const Error& e) { input_error(in, ":", lines.line(), ": ", e.what()); }
    line.set("reward", r.reward), line.set("extracted", r.extracted);
    if (r.box_in_think) line.set("accuracy", r.accuracy), line.set("box_in_think", *r.box_in_think);
    for (const auto& [key, value] : r.parts.members()) line.set(key, value);
    if (!r.raised.empty()) {
      line.set("raised", r.raised);
      ++counts.raised, ++counts.raised_of[r.raised];
    }
    file.write(line.dump() + "\n");
  }
  file.commit();
  return counts;
}

}  // namespace ov::rl
