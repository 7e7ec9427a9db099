// MME and POPE: questions that are answered by yes or no.
#include <algorithm>

#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

Text bare(View s) { return replace(strip(lower(s)), U".", U""); }

// Looks into the first four characters: "Not sure" and "know" are no, "I think yes" is other.
View yes_or_no(View reply) {
  const Text s = bare(reply);
  if (s.size() == 1) return s == U"y" ? U"yes" : s == U"n" ? U"no" : U"other";
  const Text start = s.substr(0, 4);
  return has(start, U"yes") ? U"yes" : has(start, U"no") ? U"no" : U"other";
}

void require_yes_or_no(const Text& gold) {
  if (gold != U"yes" && gold != U"no") throw Raised{"AssertionError"};
}

Json mme(const Case& c) {
  const Text gold = bare(c.gold());
  require_yes_or_no(gold);
  const View parsed = yes_or_no(c.reply);
  return Json::object({{"parsed", utf8(parsed)}, {"score", parsed == gold ? 1.0 : 0.0}});
}

bool is_perception(const std::string& category) {
  static const char* names[] = {"existence", "count", "position", "color",   "posters",
                                "celebrity", "scene", "landmark", "artwork", "OCR"};
  return std::find(std::begin(names), std::end(names), category) != std::end(names);
}

// Per picture the share of right answers plus 1 when both are right, in percent; the mean over a category's pictures;
// the sum over categories. A picture with another number of questions than two stops them; mended, it is left out.
Json mme_sum(const Lines& lines, bool perception, Compat compat) {
  double total = 0;
  std::int64_t left_out = 0;
  for (const auto& [category, of_category] : grouped(lines, [](const Json& l) { return doc_field(l, "category"); })) {
    if (is_perception(category) != perception) continue;
    Values pictures;
    for (const auto& [id, pair] : grouped(of_category, [](const Json& l) { return doc_field(l, "question_id"); })) {
      const Values right = scores(pair);
      if (right.size() == 2) pictures.push_back((sum(right) == 2) * 100.0 + sum(right) / 2 * 100.0);
      else if (compat == Compat::lmms) return Json::object({{"error", "AssertionError"}});
      else ++left_out;
    }
    if (!pictures.empty()) total += mean(pictures);
  }
  Json out = Json::object({{"value", total}});
  if (left_out) out.set("unpaired", left_out);
  return out;
}
Json mme_metrics(const Lines& lines, Compat compat) {
  return Json::object(
      {{"mme_perception_score", mme_sum(lines, true, compat)}, {"mme_cognition_score", mme_sum(lines, false, compat)}});
}

Text pope_word(View s) { return strip(lower(s)); }

Json pope(const Case& c) {
  const Text gold = pope_word(c.gold());
  require_yes_or_no(gold);
  const Text reply = pope_word(c.compat == Compat::fixed ? yes_or_no(c.reply) : View(c.reply));
  return Json::object({{"score", reply == gold ? 1.0 : 0.0}});  // "Yes." is neither, as they have it
}

Json pope_metrics(const Lines& lines, Compat compat) {
  double n = 0, right = 0, both_yes = 0, wrong_yes = 0, wrong_no = 0, gold_yes = 0, said_yes = 0;
  for (const Json& line : lines) {
    if (!line.find("score")) continue;
    const Text gold = pope_word(text(line.at("answer").as_string()));
    const Text cleaned = without_reasoning(text(line.at("prediction").as_string()));
    const Text reply = pope_word(compat == Compat::fixed ? yes_or_no(cleaned) : View(cleaned));
    const bool yes = gold == U"yes", says = reply == U"yes";
    ++n, right += line.at("score").as_double(), gold_yes += yes, said_yes += says;
    both_yes += yes && says, wrong_yes += !yes && says, wrong_no += yes && reply == U"no";
  }
  const auto share = [](double part, double all) { return all > 0 ? part / all : 0.0; };
  const double precision = share(both_yes, both_yes + wrong_yes), recall = share(both_yes, both_yes + wrong_no);
  const auto value = [](double v) { return Json::object({{"value", v}}); };
  Json out = Json::object({{"pope_accuracy", share_metric(scores(lines))},
                           {"pope_precision", value(precision)},
                           {"pope_recall", value(recall)},
                           {"pope_f1_score", value(share(2 * (precision * recall), precision + recall))},
                           {"pope_yes_ratio", value(share(gold_yes, n))},  // of the golds
                           {"pope_replies_yes_ratio", value(share(said_yes, n))}});
  return out;
}

}  // namespace

Rows yes_no_tasks() { return {{"mme", mme, mme_metrics}, {"pope", pope, pope_metrics}}; }

}  // namespace ov::public_tasks
