// MMBench: which option a reply names, by rules; rows that only differ in the order of their options count as one.
#include <algorithm>
#include <cmath>

#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

using Options = std::vector<std::pair<Text, Text>>;  // letter, text

// Options that are there. One that a document lacks is the text "nan" to them, which stands in "banana".
Options options(const Json& doc, Compat compat) {
  Options out;
  for (const char* letter : {"A", "B", "C", "D"})
    if (const Json* o = doc.find(letter); !o || !o->is_null()) {
      const std::string option = !o ? "nan" : o->is_string() ? o->as_string() : o->dump();
      if (compat == Compat::lmms || (option != "nan" && !option.empty())) out.emplace_back(text(letter), text(option));
    }
  return out;
}

// The one letter that stands alone or with one of twelve kinds of marks. "A" in more than three words is an article.
Text infer_option(const Text& answer) {
  if (has(answer, U"Failed to obtain answer via API")) return {};
  const std::vector<Text> words = python::split(answer);
  const auto stands = [&](const Text& word) { return std::find(words.begin(), words.end(), word) != words.end(); };
  static const std::pair<View, View> forms[] = {{U"", U""},   {U"", U"."},  {U"", U","},   {U"", U":"}, {U"", U")"},
                                                {U"", U")."}, {U"(", U")"}, {U"(", U")."}, {U":", U""}, {U":", U","},
                                                {U":", U"."}, {U":", U")"}, {U":", U")."}};
  for (const auto& [before, after] : forms) {
    std::vector<Text> found;
    for (const Text& letter : letters(5))
      if (stands(Text(before) + letter + Text(after))) found.push_back(letter);
    const bool article = before.empty() && after.empty() && stands(U"A") && words.size() > 3;
    if (found.size() == 1 && !article) return found[0];
  }
  return {};
}

// The one option whose text the reply contains.
Text infer_text(const Text& answer, const Options& options) {
  const Text low = lower(answer);
  Text found;
  for (const auto& [letter, option] : options)
    if (has(low, lower(option))) found += letter;
  return found.size() == 1 ? found : Text();
}

Json letter_or_null(const Text& letter) { return letter.empty() ? Json() : Json(utf8(letter)); }

Json mmbench(const Case& c) {
  const Options own = options(c.line.at("doc"), c.compat);
  const Text reply = strip(c.reply), by_option = infer_option(reply), by_text = infer_text(reply, own);
  const Text inferred = by_option.empty() ? by_text : by_option;
  std::vector<Text> choices;
  for (const auto& [letter, option] : own) choices.push_back(letter);
  const Text answer = inferred.empty() ? extract_mcq_answer(reply, choices.empty() ? letters(8) : choices) : inferred;
  return Json::object({{"can_infer", letter_or_null(inferred)},
                       {"can_infer_option", letter_or_null(by_option)},
                       {"can_infer_text", letter_or_null(by_text)},
                       {"static", utf8(answer)},
                       {"score", answer == c.gold() ? 1.0 : 0.0}});
}

Json hits(const Lines& heads, const char* key) {
  Json out = Json::object();
  for (const auto& [name, own] : grouped(heads, [&](const Json& l) { return doc_field(l, key); }))
    if (!name.empty()) out.set(name, share_metric(scores(own)));
  return out;
}

// Rows whose index is the same modulo a million are one question; it is right when every row is. Rows whose first is
// missing do not count. Lines without an index are questions by themselves.
Json mmbench_metrics(const Lines& lines, Compat) {
  constexpr std::int64_t turn = 1'000'000;
  Lines heads, alone;
  std::vector<std::pair<std::int64_t, const Json*>> rows;
  for (const Json& line : lines) {
    const Json* doc = line.find("doc");
    const Json* index = doc ? doc->find("index") : nullptr;
    if (index && index->is_integer()) rows.emplace_back(index->as_int(), &line);
    else heads.push_back(line);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first % turn, a.first) < std::pair(b.first % turn, b.first);
  });
  for (std::size_t i = 0; i < rows.size();) {
    double all = 1;
    std::size_t end = i;
    for (; end < rows.size() && rows[end].first % turn == rows[i].first; ++end) {
      const Json* score = rows[end].second->find("score");
      all = std::min(all, score && score->is_number() ? score->as_double() : 0.0);
    }
    if (end == i) {  // the row of the first turn is missing
      ++i;
      continue;
    }
    Json head = *rows[i].second;
    head.set("score", all);
    heads.push_back(std::move(head));
    i = end;
  }
  return Json::object({{"gpt_eval_score", share_metric(scores(heads), 100)},
                       {"overall", share_metric(scores(heads))},
                       {"category", hits(heads, "category")},
                       {"l2_category", hits(heads, "L2-category")}});
}

}  // namespace

Rows mmbench_tasks() { return {{"mmbench", mmbench, mmbench_metrics}}; }

}  // namespace ov::public_tasks
