// MathVista: a reply that is itself an option or a number is scored by rules; any other is shortened by a judge first.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/scorers/math_tasks.h"
#include "eval/scorers/statistics.h"
#include "eval/scorers/words.h"

namespace ov::public_tasks {
namespace {

using namespace python;

std::vector<Text> choices_of(const Json* list) {
  std::vector<Text> out;
  if (list && list->is_array())
    for (const Json& c : list->items()) out.push_back(text(c.as_string()));
  return out;
}

// A line may bring "judge_reply", what a judge made of the reply.
Json mathvista(const Case& c) {
  const std::string question = doc_field(c.line, "question_type"), answer = doc_field(c.line, "answer_type");
  const Json* given = c.doc("choices");
  const std::vector<Text> choices = choices_of(given);
  const Text reply = strip(c.reply);
  std::optional<Text> extraction;
  if (reply.empty()) extraction = reply;
  else if (question == "multi_choice" && std::find(choices.begin(), choices.end(), reply) != choices.end())
    extraction = reply;
  else if (const auto whole = to_int(reply); answer == "integer" && whole) extraction = whole;
  else if (const auto number = to_float(reply); answer == "float" && number) extraction = text(repr(*number));
  Json out = Json::object({{"asks_judge", !extraction}});
  if (!extraction) {
    const Json* judged = c.line.find("judge_reply");
    if (!judged) return out;
    extraction = text(judged->as_string());
  }
  if (question == "multi_choice" && choices.empty())
    throw Raised{given && given->is_array() ? "ValueError" : "TypeError"};
  const Json* precision = c.doc("precision");
  const auto parsed = mathvista_form(*extraction, choices, question, answer, precision ? *precision : Json());
  const Json& gold = c.line.at("answer");
  const Text wanted = text(gold.is_string() ? gold.as_string() : gold.is_null() ? "None" : gold.dump());
  out.set("extraction", utf8(*extraction));
  out.set("parsed", parsed ? Json(utf8(*parsed)) : Json());
  out.set("score", strip(parsed.value_or(U"None")) == strip(wanted) ? 1.0 : 0.0);
  return out;
}

Json mathvista_metrics(const Lines& lines, Compat) {
  const Values values = scores(lines);
  std::size_t judged = 0;
  for (const Json& l : lines)
    if (const Json* asks = l.find("asks_judge")) judged += asks->as_bool();
  Json metric = share_metric(values, 100);
  const double percent = values.empty() ? 0 : python::round(sum(values) / static_cast<double>(values.size()) * 100, 2);
  metric.set("value", percent == 0 ? Json() : Json(percent));  // null when nothing is right
  metric.set("asked_judge", judged);
  return Json::object({{"llm_as_judge_eval", std::move(metric)}});
}

}  // namespace

std::optional<Text> mathvista_form(Text extraction, const std::vector<Text>& choices, const std::string& question,
                                   const std::string& answer, const Json& precision) {
  static const Regex letter(UR"(\(([a-zA-Z])\))");
  if (question == "multi_choice") {
    extraction = strip(extraction);
    if (const auto found = letter.search(extraction)) extraction = upper(*found->groups[1]);
    if (extraction.size() == 1 && extraction[0] >= U'A' && extraction[0] < U'A' + choices.size())
      return choices[extraction[0] - U'A'];
    return *std::min_element(choices.begin(), choices.end(), [&](const Text& a, const Text& b) {
      return levenshtein(extraction, a) < levenshtein(extraction, b);
    });
  }
  const auto number = to_float(extraction);
  if (answer == "integer") return number && std::isfinite(*number) ? std::optional(int_text(*number)) : std::nullopt;
  if (answer == "float") {
    if (!number) return {};
    if (precision.is_integer()) return text(repr(python::round(*number, static_cast<int>(precision.as_int()))));
    // round(x, None) is a whole number, of infinity an error; round(x, 1.0) always is one.
    if (!precision.is_null() || !std::isfinite(*number)) return {};
    return int_text(python::round(*number, 0));
  }
  return extraction;
}

Rows mathvista_tasks() { return {{"mathvista", mathvista, mathvista_metrics}}; }

}  // namespace ov::public_tasks
