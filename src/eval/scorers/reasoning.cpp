// The rules behind wemath, logicvista and the other *_reasoning tasks, and VL-RewardBench's pattern.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/scorers/math_tasks.h"
#include "eval/scorers/statistics.h"
#include "math/read.h"

namespace ov::public_tasks {
namespace {

using namespace python;

Text without_dot(const Text& s) { return strip(s.ends_with(U'.') ? s.substr(0, s.size() - 1) : s); }

bool contains_most(const Text& whole, const Text& part) {
  return has(whole, part) && static_cast<double>(part.size()) >= 0.9 * static_cast<double>(whole.size());
}

// A gold that names a letter, and "Apple" does, is compared by letters alone; other texts when they are equal or one is
// nine tenths of the other.
bool relaxed_match(const Text& reply, const Text& gold) {
  if (const Text letter = parse_mcq(gold); !letter.empty()) return parse_mcq(reply) == letter;
  return contains_most(gold, reply) || contains_most(reply, gold) || strip(reply) == strip(gold);
}

Json reasoning(const Case& c) {
  const Text whole = strip(c.reply), reply = without_dot(strip(answer_tag(whole)));
  const Text gold = without_dot(c.gold());
  const bool text_match = relaxed_match(reply, gold);
  const math::Verdict verdict = text_match ? math::Verdict::equal : math::compare(gold, reply);
  const bool right = verdict == math::Verdict::equal;
  // What the reply was before its reasoning was removed decides whether it is well formed; theirs removes it first.
  const Text judged = c.compat == Compat::fixed ? strip(text(c.line.at("prediction").as_string())) : whole;
  return Json::object({{"score", right ? 1.0 : 0.0},
                       {"acc_score", right ? 1.0 : 0.0},
                       {"format_score", format_reward(judged)},
                       {"parsed", utf8(reply)},
                       {"parsed_answer", utf8(gold)},
                       {"letter_of_reply", utf8(parse_mcq(reply))},
                       {"letter_of_answer", utf8(parse_mcq(gold))},
                       {"by", text_match                          ? "text or letter"
                              : right                             ? "math_verify"
                              : verdict == math::Verdict::unknown ? "not decided"
                                                                  : "nothing"}});
}

Json reasoning_metrics(const Lines& lines, Compat) {
  std::size_t undecided = 0;
  for (const Json& l : lines)
    if (const Json* by = l.find("by")) undecided += by->as_string() == "not decided";
  Json acc = mean_metric(scores(lines));
  acc.set("not_decided", undecided);
  return Json::object({{"acc_score", std::move(acc)}, {"format_score", mean_metric(scores(lines, "format_score"))}});
}

// We-Math (Qiao et al. 2024): a problem is its steps, each a question, and the whole of them. "99.43%" of 525 problems,
// however many there are; mended, of those that are there.
Json wemath_share(const Lines& lines, bool strict, Compat compat) {
  double inadequate = 0, insufficient = 0, rote = 0, mastered = 0, problems = 0;
  for (const std::string steps : {"2", "3"}) {
    const auto of_step = [&](const std::string& step) {
      std::vector<std::pair<std::string, bool>> out;
      for (const Json& l : lines)
        if (doc_field(l, "key") == steps + "steps_" + step)
          out.emplace_back(doc_field(l, "ID"), l.at("score").as_double() == 1.0);
      return out;
    };
    std::vector<std::vector<std::pair<std::string, bool>>> parts;
    for (int i = 1; i <= std::stoi(steps); ++i) parts.push_back(of_step(std::to_string(i)));
    const auto wholes = of_step("multi");
    for (const auto& [id, first] : parts[0]) {
      const auto find = [&id = id](const auto& part) {
        return std::find_if(part.begin(), part.end(), [&](const auto& p) { return p.first == id; });
      };
      bool any = first, all = first, none_missing = true, some_wrong = !first;
      for (std::size_t i = 1; i < parts.size(); ++i) {
        const auto at = find(parts[i]);
        if (at == parts[i].end()) none_missing = false;  // a left join leaves NaN: neither right nor wrong
        else any |= at->second, some_wrong |= !at->second;
        all &= at != parts[i].end() && at->second;
      }
      const auto whole = find(wholes);
      if (whole == wholes.end()) continue;
      ++problems;
      const bool none_right = none_missing && !any;
      if (whole->second) {
        mastered += strict ? all : any;
        rote += strict ? some_wrong : none_right;
      } else {
        inadequate += all;
        insufficient += some_wrong;
      }
    }
  }
  const bool nobody = rote + mastered == 0;
  if (nobody && compat == Compat::lmms) return Json::object({{"error", "ZeroDivisionError"}});
  const double total = compat == Compat::lmms ? 525 : problems;
  const double share = total > 0 ? (total - 0.5 * inadequate - rote - insufficient) / total : 0;
  if (compat == Compat::fixed) return Json::object({{"value", share}, {"n", problems}});
  char percent[32];
  std::snprintf(percent, sizeof percent, "%.2f%%", share * 100);
  return Json::object({{"value", percent}});
}

Json wemath_metrics(const Lines& lines, Compat compat) {
  Json out = reasoning_metrics(lines, compat);
  out.set("wemath_loose", wemath_share(lines, false, compat));
  out.set("wemath_strict", wemath_share(lines, true, compat));
  return out;
}

// Which of two answers a judgement calls better. Where the words are others, a judge model is asked. "answer": the
// human ranking; the pair was shown in the order that the parity of the answers' lengths gives.
Json vl_rewardbench(const Case& c) {
  static const Regex pattern(
      UR"((?:Overall Judgment|Therefore)\s*.*\s*-*\s*Answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better)",
      Regex::ignore_case);
  const auto found = pattern.search(replace(replace(strip(c.reply), U"\n", U""), U"*", U""));
  if (!found) return Json::object({{"asks_judge", true}});
  const Json *lengths = c.doc("response_lengths"), *answers = c.doc("response");
  if (!lengths && !answers) input_error("doc.response: missing");
  std::int64_t length = 0;
  for (const Json& l : (lengths ? lengths : answers)->items())
    length += lengths ? l.as_int() : std::ssize(text(l.as_string()));
  const auto ranking = of_field("answer", [&] { return c.line.at("answer").items(); });
  const auto at = std::find_if(ranking.begin(), ranking.end(), [&](const Json& r) { return r.as_int() == length % 2; });
  if (at == ranking.end()) throw Raised{"ValueError"};
  const double said = to_float(*to_int(*found->groups[1])).value_or(0),
               gold = static_cast<double>(at - ranking.begin() + 1);
  const std::string id = doc_field(c.line, "id"), head = id.substr(0, id.find('-'));
  const Text kind = lower(text(head.substr(0, head.find('_'))));
  const bool reasons = kind == U"mathverse" || kind == U"mmmu";
  const bool hallucination = kind == U"hallucination" || kind == U"rlhf" || kind == U"rlaif";
  return Json::object({{"group", reasons         ? "reasoning"
                                 : hallucination ? "hallucination"
                                                 : "general"},
                       {"parsed", said < 1e15 ? Json(static_cast<std::int64_t>(said)) : Json(said)},
                       {"score", said == gold ? 1.0 : 0.0}});
}
Json reward_metrics(const Lines& lines, Compat) {
  Json out = Json::object();
  Values means;
  std::size_t asked = 0;
  Lines scored;
  for (const Json& l : lines)
    if (l.find("score")) scored.push_back(l);
    else ++asked;
  for (const auto& [group, own] :
       grouped(scored, [](const Json& l) { return l.find("group") ? l.at("group").as_string() : "general"; })) {
    out.set(group, share_metric(scores(own)));
    means.push_back(mean(scores(own)));
  }
  out.set("vlreward_score",
          Json::object({{"value", number_json(mean(means))}, {"n", scored.size()}, {"asked_judge", asked}}));
  return out;
}

}  // namespace

// As extract_mcq_answer, but with more forms, phrases that need no letter behind them, no care for words at the start
// and the end ("Apple" is A), and among equals the earlier place.
Text parse_mcq(View text) {
  static const View phrases[] = {U"the answer is",
                                 U"answer is",
                                 U"the correct answer is",
                                 U"correct answer is",
                                 U"the answer",
                                 U"answer",
                                 U"correct answer",
                                 U"the correct answer",
                                 U"the best answer is",
                                 U"best answer is",
                                 U"the best answer",
                                 U"best answer",
                                 U"the option is",
                                 U"option is",
                                 U"the correct option is",
                                 U"correct option is",
                                 U"the choice is",
                                 U"choice is",
                                 U"the correct choice is",
                                 U"correct choice is",
                                 U"i choose",
                                 U"i select",
                                 U"i pick",
                                 U"my answer is",
                                 U"my choice is"};
  const Text bare = strip(text);
  if (bare.empty()) return {};
  const Text padded = U" " + strip_marks(bare, U",.!?;:'\"") + U" ", low = lower(padded), inner = strip(padded);
  const std::vector<Text> choices = letters(8);
  const Text* best = nullptr;
  int best_priority = -1;
  std::size_t best_at = 0;
  const auto candidate = [&](const Text& letter, std::size_t at, int priority) {
    if (at == Text::npos) return;
    if (priority > best_priority || (priority == best_priority && at < best_at))
      best = &letter, best_priority = priority, best_at = at;
  };
  struct Form {
    View before, after;
    int priority;
  };
  for (const Form& f : {Form{U"(", U")", 6},
                        {U"", U".", 5},
                        {U"", U":", 4},
                        {U"", U")", 3},
                        {U"", U" ", 2},
                        {U"", U"-", 1},
                        {U"", U"_", 1},
                        {U"", U"=", 1}})
    for (const Text& letter : choices)
      candidate(letter, padded.rfind(Text(f.before) + letter + Text(f.after)), f.priority);
  for (const View phrase : phrases)
    if (const std::size_t at = low.find(phrase); at != Text::npos)
      for (const Text& letter : choices) candidate(letter, padded.find(letter, at), 7);
  for (const Text& letter : choices)
    if (inner.starts_with(letter)) candidate(letter, 0, 10);
  for (const Text& letter : choices)
    if (inner.ends_with(letter)) candidate(letter, padded.size() - 1, 9);
  for (std::size_t i = 0; i < choices.size(); ++i)
    candidate(choices[i], padded.rfind(python::text(std::to_string(i + 1)) + U". " + choices[i]), 8);
  if (!best)
    for (const Text& letter : choices) candidate(letter, padded.rfind(letter), 0);
  return best ? *best : Text();
}

// The last \boxed{...} whose braces close; one within another counts from its own beginning.
Text boxed_answer(View reply) {
  constexpr View open = U"\\boxed{";
  Text last;
  for (std::size_t at = reply.find(open); at != View::npos; at = reply.find(open, at + 1)) {
    int deep = 0;
    for (std::size_t i = at + open.size() - 1; i < reply.size(); ++i) {
      deep += reply[i] == U'{' ? 1 : reply[i] == U'}' ? -1 : 0;
      if (deep != 0 || (reply[i] != U'}' && reply[i] != U'{')) continue;
      last = reply.substr(at + open.size(), i - at - open.size());
      break;
    }
  }
  return last;
}

// The first <answer>, else the last \boxed{}, else the number at the end of the last line that ends in one.
Text answer_tag(View reply) {
  static const Regex tag(U"<answer>(.*?)</answer>", Regex::dot_all), number(UR"(\b(\d+(?:\.\d+)?)\b(?:\s*\.?\s*$))");
  if (const auto found = tag.search(reply)) return *found->groups[1];
  if (const Text boxed = boxed_answer(reply); !boxed.empty()) return boxed;
  auto lines = python::split(strip(reply), U"\n");
  for (auto line = lines.rbegin(); line != lines.rend(); ++line)
    if (!strip(*line).empty())
      if (const auto found = number.search(*line)) return *found->groups[1];
  return {};
}

double format_reward(View reply) {
  static const Regex think(U"<think>.*</think>.*<answer>.*</answer>", Regex::dot_all);
  static const Regex analysis(U"<analysis>.*</analysis>.*<answer>.*</answer>", Regex::dot_all);
  if (think.fullmatch(reply) || analysis.fullmatch(reply) || !boxed_answer(reply).empty()) return 1;
  const bool mathematical = reply.find_first_of(U"=+-*/()[]\\") != View::npos;
  return strip(reply).size() > 50 && mathematical && !answer_tag(reply).empty() ? 0.8 : 0;
}

Rows reasoning_tasks() {
  return {{"reasoning", reasoning, reasoning_metrics},
          {"wemath", reasoning, wemath_metrics},
          {"vl_rewardbench", vl_rewardbench, reward_metrics}};
}

}  // namespace ov::public_tasks
