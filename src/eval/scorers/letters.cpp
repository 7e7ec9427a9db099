// Tasks whose answer is a letter. Each rule is the one of its task in lmms-eval 0.7.3; where a rule is surprising the
// comment shows a reply that it misreads.
#include <algorithm>

#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

Json scored(bool right, const Text& parsed) {
  return Json::object({{"parsed", utf8(parsed)}, {"score", right ? 1.0 : 0.0}});
}

std::vector<Text> texts(const Json& list) {
  std::vector<Text> out;
  for (const Json& item : list.items()) out.push_back(text(item.as_string()));
  return out;
}

Json mcq(const Case& c) {
  const Json* choices = c.line.find("choices");
  return Json::object(
      {{"score", utf8(extract_mcq_answer(
                     c.reply, choices && choices->is_array() && choices->size() ? texts(*choices) : letters(8)))}});
}

Json reasoning_tags(const Case& c) {
  std::vector<std::pair<Text, Text>> tags;
  for (const Json& pair : c.line.at("tags").items())
    tags.emplace_back(text(pair[0].as_string()), text(pair[1].as_string()));
  return Json::object({{"score", utf8(without_reasoning(text(c.line.at("prediction").as_string()), tags))}});
}

// "Definitely C" is D, "Both are wrong" is B: the first character alone counts.
Json seedbench(const Case& c) {
  const Text pred = strip(c.reply).substr(0, 1);
  return scored(strip(lower(pred)) == strip(lower(c.gold())), pred);
}

Json scienceqa(const Case& c) {
  const Text target = lower(strip(c.gold())), pred = strip(c.reply);
  const bool dotted = pred.size() >= 2 && is_upper(pred[0]) && pred[1] == U'.';
  const bool right = lower(pred) == target || (dotted && lower(pred.substr(0, 1)) == target);
  return Json::object({{"score", right ? 1.0 : 0.0}});
}

// "answer: d" is A and "Because" is B: the first pattern takes whatever the reply begins with.
Json vstar(const Case& c) {
  static const Regex patterns[] = {
      Regex(UR"(^([A-D])\s*[\.)\]]*)", Regex::ignore_case),
      Regex(UR"((?:THE\s+)?(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D]))", Regex::ignore_case),
      Regex(UR"(\(([A-D])\))", Regex::ignore_case), Regex(UR"(([A-D])\s*(?:\.|\)|\]))", Regex::ignore_case),
      Regex(UR"((?:^|\s)([A-D])(?:\s|$))", Regex::ignore_case)};
  const Text response = upper(strip(c.reply));
  std::optional<Text> letter;
  for (const Regex& pattern : patterns)
    if (const auto found = pattern.search(response); found && !letter) letter = upper(*found->groups[1]);
  if (!letter) {
    Text all;
    std::copy_if(response.begin(), response.end(), std::back_inserter(all),
                 [](char32_t x) { return x >= U'A' && x <= U'D'; });
    if (all.size() == 1) letter = all;
    else if (!response.empty() && response[0] >= U'A' && response[0] <= U'D') letter = response.substr(0, 1);
  }
  Json out = scored(letter && *letter == upper(strip(c.gold())), letter.value_or(U""));
  if (!letter) out.set("parsed", Json());
  return out;
}

Text leading_letter(View reply) {  // "The answer is C" is T
  static const Regex pattern(UR"([\(\s]*([A-Z])[\)\.\s]*)", Regex::ignore_case);
  const auto found = pattern.match(strip(reply));
  return found ? upper(*found->groups[1]) : Text();
}

Json cv_bench(const Case& c) {
  const Text letter = leading_letter(c.reply);
  return scored(letter == strip(c.gold(), U"()"), letter);
}

// The letter of a reply among the document's own: a short first line, the last "answer is X", the last "(X)", a letter
// at the start.
Text blink_letter(View reply, const Text& valid) {
  const Text all = strip(reply), first_line = strip(split(all, U"\n")[0]);
  const Text one = U"([" + valid + U"])";
  if (first_line.size() <= 4)
    if (const auto found = Regex(UR"(^\(?)" + one + UR"(\)?[\.\s:,)]*$)", Regex::ignore_case).match(first_line))
      return upper(*found->groups[1]);
  const Regex said(UR"(answers?(?:\s+is)?\s*[:\-]?\s*\(?)" + one + UR"(\)?(?![A-Za-z]))", Regex::ignore_case);
  if (const auto found = said.find_all(all); !found.empty()) return upper(*found.back().groups[1]);
  if (const auto found = Regex(UR"(\()" + one + UR"(\))").find_all(all); !found.empty())
    return upper(*found.back().groups[1]);
  const auto found = Regex(UR"([\(\s]*)" + one + UR"([\)\.\s]*)", Regex::ignore_case).match(all);
  return found ? upper(*found->groups[1]) : Text();
}

Json blink(const Case& c) {
  const Json* choices = c.doc("choices");
  const std::size_t n = !choices || choices->is_null() ? 0
                        : choices->is_array()          ? choices->size()
                                                       : static_cast<std::size_t>(choices->as_int());
  Text valid;
  for (const Text& letter : letters(n ? n : 26)) valid += letter;
  const Text letter = blink_letter(c.reply, valid);
  Json out = scored(letter == strip(c.gold(), U"()"), letter);
  out.set("parsed_before_0_7_3", utf8(leading_letter(c.reply)));
  return out;
}

// The first capital A to E of anything: "As we see" is A; an empty reply is a part of "(A)" and so is A too.
Text realworld_letter(View reply, Compat compat) {
  Text s = strip(reply);
  for (const View prefix : {U"The best answer is", U"The correct answer is", U"The answer is", U"The answer",
                            U"The best option is", U"The correct option is", U"Best answer:", U"Best option:"})
    s = replace(s, prefix, U"");
  const std::size_t at = s.find_first_of(U"ABCDE");
  if (at != Text::npos) return s.substr(at, 1);
  if (python::split(s).size() > 10 || (compat == Compat::fixed && strip(s).empty())) return {};
  for (const View choice : {U"(a)", U"(b)", U"(c)", U"(d)", U"(e)"})
    if (has(choice, lower(s))) return upper(choice.substr(1, 1));
  return {};
}
Json mme_realworld(const Case& c) {
  const Text letter = realworld_letter(c.reply, c.compat);
  return scored(has(lower(letter), lower(c.gold())), letter);
}

Json mmstar(const Case& c) {
  const Text letter = extract_mcq_answer(c.reply, letters(4));
  return scored(letter == upper(strip(c.gold())), letter);
}

Json realworldqa(const Case& c) {
  const Text gold = strip(c.gold()), letter = upper(gold);
  const bool choice = letter.size() == 1 && letter[0] >= U'A' && letter[0] <= U'D';
  const bool right =
      choice ? extract_mcq_answer(c.reply, letters(4)) == letter : rstrip(strip(lower(c.reply)), U".") == lower(gold);
  return Json::object({{"score", right ? 1.0 : 0.0}});
}

// A share of all, and one of each group: "<prefix><group><suffix>".
Json shares(const Lines& lines, const char* all, std::string_view key, const std::string& prefix,
            const std::string& suffix = "", double scale = 1) {
  Json out = Json::object({{all, share_metric(scores(lines), scale)}});
  if (key.empty()) return out;
  for (const auto& [group, own] : grouped(lines, [&](const Json& l) { return doc_field(l, key); }))
    out.set(prefix + group + suffix, share_metric(scores(own), scale));
  return out;
}

Json no_metrics(const Lines&, Compat) { return Json::object(); }
Json exact_match(const Lines& l, Compat) { return Json::object({{"exact_match", mean_metric(scores(l))}}); }

Json seed_plus_metrics(const Lines& lines, Compat) {
  Json out = Json::object({{"seedbench_2_plus_all", share_metric(scores(lines))}});
  const auto kind = [](const Json& l) { return utf8(capitalize(text(doc_field(l, "question_image_type")))); };
  for (const auto& [group, own] : grouped(lines, kind)) out.set("seedbench_2_plus_" + group, share_metric(scores(own)));
  return out;
}

// The benchmark's own figure, which no task of lmms-eval reports: 2D sources and 3D weigh the same.
Json cv_metrics(const Lines& lines, Compat) {
  Json out = shares(lines, "cv_bench_acc", "", "");
  double share[3] = {};
  const char* sources[] = {"ADE20K", "COCO", "Omni3D"};
  for (int i = 0; i < 3; ++i) {
    Lines own;
    std::copy_if(lines.begin(), lines.end(), std::back_inserter(own),
                 [&](const Json& l) { return doc_field(l, "source") == sources[i]; });
    if (scores(own).empty()) return out;
    share[i] = mean(scores(own));
  }
  out.set("cv_bench_default_aggregate_results",
          Json::object({{"value", 0.5 * ((share[0] + share[1]) / 2 + share[2])}}));
  return out;
}

// The mean of the categories' means, not of the documents.
Json category_average(const Lines& lines) {
  Values means;
  for (const auto& [group, own] : grouped(lines, [](const Json& l) { return doc_field(l, "l2_category"); }))
    means.push_back(mean(scores(own)));
  return Json::object({{"value", number_json(mean(means))}, {"n", lines.size()}});
}
Json mmstar_metrics(const Lines& lines, Compat) {
  Json out = Json::object({{"average", category_average(lines)}});
  for (const auto& [group, own] : grouped(lines, [](const Json& l) { return doc_field(l, "category"); }))
    if (!group.empty()) out.set(group, category_average(own));
  return out;
}

}  // namespace

std::vector<Text> letters(std::size_t n) {
  std::vector<Text> out;
  for (std::size_t i = 0; i < n; ++i) out.emplace_back(1, static_cast<char32_t>(U'A' + i));
  return out;
}

Text strip_marks(Text text, View marks) {
  for (const char32_t mark : marks) text = strip(text, View(&mark, 1));
  return text;
}

Text extract_mcq_answer(View response, const std::vector<Text>& choices) {
  static const View phrases[] = {U"the answer is",
                                 U"answer is",
                                 U"the correct answer is",
                                 U"correct answer is",
                                 U"the best answer is",
                                 U"best answer is",
                                 U"the correct option is",
                                 U"correct option is",
                                 U"the best option is",
                                 U"best option is",
                                 U"the choice is",
                                 U"choice is",
                                 U"the correct choice is",
                                 U"correct choice is",
                                 U"i choose",
                                 U"i select",
                                 U"i pick",
                                 U"my answer is",
                                 U"my choice is",
                                 U"옵션",
                                 U"정답은",
                                 U"답은",
                                 U"답:",
                                 U"答案是",
                                 U"答案为",
                                 U"选",
                                 U"答えは"};
  const Text bare = strip(response);
  if (bare.empty()) return {};
  const Text padded = U" " + strip_marks(bare, U",.!?;:'\"") + U" ", low = lower(padded), inner = strip(padded);

  struct {
    const Text* letter = nullptr;
    int priority = -1;
    std::size_t at = 0;
  } best;  // the highest priority, then the last place, then whoever came first
  const auto candidate = [&](const Text& letter, std::size_t at, int priority) {
    if (at == Text::npos) return;
    if (priority > best.priority || (priority == best.priority && at > best.at)) best = {&letter, priority, at};
  };
  const std::pair<View, View> forms[] = {{U"(", U")"}, {U"", U"."}, {U"", U":"}, {U"", U")"}, {U"", U" "}};
  for (int f = 0; f < 5; ++f)
    for (const Text& letter : choices)
      candidate(letter, padded.rfind(Text(forms[f].first) + letter + Text(forms[f].second)), 6 - f);
  for (const View phrase : phrases)
    if (const std::size_t at = low.find(phrase); at != Text::npos)
      for (const Text& letter : choices) candidate(letter, padded.find(letter, at + phrase.size()), 7);
  for (const Text& letter : choices)
    if (inner.starts_with(letter) && (inner.size() == 1 || !is_alpha(inner[1]))) candidate(letter, 0, 10);
  for (const Text& letter : choices)
    if (inner.ends_with(letter) && (inner.size() == 1 || !is_alpha(inner[inner.size() - 2])))
      candidate(letter, padded.size() - 1, 9);
  if (!best.letter)
    for (const Text& letter : choices) candidate(letter, padded.rfind(letter), 0);
  return best.letter ? *best.letter : Text();
}

Rows letter_tasks() {
  return {
      {"strip_reasoning_tags", reasoning_tags, no_metrics},
      {"extract_mcq_answer", mcq, no_metrics},
      {"blink", blink, [](const Lines& l, Compat) { return shares(l, "blink_acc", "", ""); }},
      {"cv_bench", cv_bench, cv_metrics},
      {"mme_realworld", mme_realworld, [](const Lines& l, Compat) { return shares(l, "mme_realworld_score", "", ""); }},
      {"mmstar", mmstar, mmstar_metrics},
      {"realworldqa", realworldqa, exact_match},
      {"scienceqa", scienceqa, exact_match},
      {"seedbench", seedbench, [](const Lines& l, Compat) { return shares(l, "seed_all", "data_type", "seed_"); }},
      {"seedbench_2_plus", seedbench, seed_plus_metrics},
      {"vstar_bench", vstar,
       [](const Lines& l, Compat) { return shares(l, "vstar_overall_acc", "category", "vstar_", "_acc", 100); }},
  };
}

}  // namespace ov::public_tasks
