// Tasks whose answer is a word, a number or a line of text: relaxed accuracy, ANLS, exact match, counts, OCRBench.
#include <algorithm>
#include <cmath>

#include "eval/scorers/statistics.h"
#include "eval/scorers/words.h"

namespace ov::public_tasks {
namespace {

using namespace python;

Json only(bool right) { return Json::object({{"score", right ? 1.0 : 0.0}}); }

// Within 5 % of the gold number; where one of the two is no number, or the gold is 0: equal but for case.
Json chartqa(const Case& c) {
  const auto number = [](const Text& s) -> std::optional<double> {
    if (!s.ends_with(U'%')) return to_float(s);
    auto value = to_float(rstrip(s, U"%"));
    if (value) *value /= 100;
    return value;
  };
  const Text gold = c.gold();
  const auto p = number(c.reply), t = number(gold);
  return only(p && t && *t != 0 ? std::abs(*p - *t) / std::abs(*t) <= 0.05 : lower(c.reply) == lower(gold));
}
Json chartqa_metrics(const Lines& lines, Compat) {
  Json out = Json::object({{"relaxed_overall", mean_metric(scores(lines))}});
  const auto split = [](const Json& l) { return doc_field(l, "type") == "human_test" ? "human" : "augmented"; };
  for (const auto& [name, own] : grouped(lines, split)) out.set("relaxed_" + name + "_split", mean_metric(scores(own)));
  return out;
}

Text collapsed(View s) { return join(U" ", python::split(lower(strip(s)))); }

std::vector<Text> golds(const Case& c) {
  const Json& answer = c.line.at("answer");
  if (answer.is_string()) return {c.gold()};
  return of_field("answer", [&] {
    std::vector<Text> out;
    for (const Json& a : answer.items()) out.push_back(text(a.as_string()));
    return out;
  });
}

Json docvqa(const Case& c) { return Json::object({{"score", anls(golds(c), c.reply, 0.5)}}); }

// The text that is compared is what the letter filter left: "B. leaf" is "B", but a reply that begins with a reasoning
// block does not begin with its letter, and the filter runs first.
Text ai2d_filter(View reply) {
  static const Regex letter(UR"(^\s*([A-Z])\.)");
  const auto found = letter.match(reply);
  return found ? *found->groups[1] : Text(reply);
}
constexpr ExactMatch as_gqa = {.ignore_case = true, .ignore_punctuation = true};
Json ai2d(const Case& c) {
  const Text compared = c.compat == Compat::fixed ? ai2d_filter(c.reply) : c.reply;
  return Json::object(
      {{"parsed", utf8(compared)}, {"score", exact_match(strip(compared), c.gold(), as_gqa) ? 1.0 : 0.0}});
}

Json gqa(const Case& c) { return only(exact_match(strip(c.reply), c.gold(), as_gqa)); }

Text plain(const Json& number) { return text(number.is_string() ? number.as_string() : number.dump()); }

Json countbench(const Case& c) {
  static const View words[] = {U"zero",     U"one",     U"two",     U"three",     U"four",     U"five",     U"six",
                               U"seven",    U"eight",   U"nine",    U"ten",       U"eleven",   U"twelve",   U"thirteen",
                               U"fourteen", U"fifteen", U"sixteen", U"seventeen", U"eighteen", U"nineteen", U"twenty"};
  const auto count = [](const Text& s) {
    const Text word = lower(strip(s));
    const auto* at = std::find(std::begin(words), std::end(words), word == U"none" ? View(U"zero") : View(word));
    return at == std::end(words) ? word : text(std::to_string(at - words));
  };
  return only(count(c.reply) == count(plain(c.line.at("answer"))));
}
Json countbenchqa(const Case& c) { return only(strip(c.reply) == plain(c.line.at("answer"))); }
Json pixmo_count(const Case& c) {
  static const Regex digits(UR"(\d+)");
  const auto first_number = [](const Text& s) {
    const Text bare = strip(s);
    const auto found = digits.search(bare);
    return found ? *found->groups[0] : bare;
  };
  return only(first_number(c.reply) == first_number(plain(c.line.at("answer"))));
}

Text half_width(View s) {
  Text out(s);
  for (char32_t& x : out) x = x >= 0xFF01 && x <= 0xFF5E ? x - 0xFEE0 : x == 0x3000 ? U' ' : x;
  return out;
}

// A gold that stands anywhere in the reply: 5 is found in 15.
Json ocrbench(const Case& c) {
  const bool formula = c.doc("dataset") && doc_field(c.line, "dataset") == "HME100k";
  const auto form = [&](const Text& s) {
    return formula ? replace(replace(strip(s), U"\n", U" "), U" ", U"")
                   : replace(strip(lower(half_width(s))), U"\n", U" ");
  };
  const Text reply = form(strip(c.reply));
  const auto answers = golds(c);
  return Json::object({{"score", int(std::any_of(answers.begin(), answers.end(),
                                                 [&](const Text& a) { return has(reply, form(a)); }))}});
}
Json ocrbench_metrics(const Lines& lines, Compat compat) {
  static const char* types[] = {"Regular Text Recognition",   "Irregular Text Recognition",
                                "Artistic Text Recognition",  "Handwriting Recognition",
                                "Digit String Recognition",   "Non-Semantic Text Recognition",
                                "Scene Text-centric VQA",     "Doc-oriented VQA",
                                "Key Information Extraction", "Handwritten Mathematical Expression Recognition"};
  const Values all = scores(lines);
  Json out = Json::object();
  bool known = true;
  for (const auto& [type, own] : grouped(lines, [](const Json& l) { return doc_field(l, "question_type"); })) {
    known &= std::find(std::begin(types), std::end(types), type) != std::end(types);
    out.set(type, share_metric(scores(own)));
  }
  // Their sum is of the thousand questions that the benchmark has, however many were asked.
  Json total = compat == Compat::fixed ? share_metric(all) : Json::object({{"value", sum(all) / 1000}});
  if (!known && compat == Compat::lmms) total = Json::object({{"error", "KeyError"}});
  out.set("ocrbench_accuracy", std::move(total));
  out.set("ocrbench_share", share_metric(all));
  return out;
}

Json exact_metrics(const Lines& l, Compat) { return Json::object({{"exact_match", mean_metric(scores(l))}}); }
Json anls_metrics(const Lines& l, Compat) { return Json::object({{"anls", mean_metric(scores(l))}}); }
Json count_metrics(const Lines& l, Compat) {
  return Json::object({{"acc", mean_metric(scores(l))}, {"exact_match", mean_metric(scores(l))}});
}

}  // namespace

std::size_t levenshtein(View a, View b) {
  std::vector<std::size_t> row(a.size() + 1);
  for (std::size_t i = 0; i <= a.size(); ++i) row[i] = i;
  for (std::size_t j = 0; j < b.size(); ++j) {
    std::size_t corner = row[0];
    row[0] = j + 1;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const std::size_t above = row[i + 1];
      row[i + 1] = a[i] == b[j] ? corner : 1 + std::min({corner, above, row[i]});
      corner = above;
    }
  }
  return row[a.size()];
}

double anls(const std::vector<Text>& references, const Text& prediction, double threshold) {
  double least = INFINITY;
  for (const Text& reference : references) {
    const auto distance = static_cast<double>(levenshtein(collapsed(reference), collapsed(prediction)));
    const auto length = static_cast<double>(std::max(upper(reference).size(), upper(prediction).size()));
    least = std::min(least, length == 0 ? 0 : distance / length);
  }
  if (references.empty()) throw Raised{"ValueError"};  // min() of nothing
  const double result = 1 - least;
  return result < threshold ? 0 : result;
}

bool exact_match(Text prediction, Text reference, const ExactMatch& options) {
  constexpr View punctuation = U"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", digits = U"0123456789";
  for (Text* s : {&prediction, &reference}) {
    for (const Regex& pattern : options.ignore) *s = pattern.sub(U"", *s);
    const std::size_t width = s->size();  // of the numpy array: what a mapping adds beyond it is cut off
    *s = rstrip(*s, View(U"\0", 1));      // and NULs at the end are dropped
    if (options.ignore_case) *s = lower(*s).substr(0, width);
    if (options.ignore_punctuation) std::erase_if(*s, [&](char32_t c) { return punctuation.find(c) != View::npos; });
    if (options.ignore_numbers) std::erase_if(*s, [&](char32_t c) { return digits.find(c) != View::npos; });
    *s = rstrip(*s, View(U"\0", 1));
  }
  return prediction == reference;
}

Rows text_tasks() {
  return {
      {"chartqa", chartqa, chartqa_metrics},
      {"docvqa", docvqa, anls_metrics},
      {"infovqa", docvqa, anls_metrics},
      {"ai2d", ai2d, exact_metrics, ai2d_filter},
      {"exact_match", gqa, exact_metrics},
      {"countbench", countbench, count_metrics},
      {"countbenchqa", countbenchqa, count_metrics},
      {"pixmo_count", pixmo_count, count_metrics},
      {"ocrbench", ocrbench, ocrbench_metrics},
  };
}

}  // namespace ov::public_tasks
