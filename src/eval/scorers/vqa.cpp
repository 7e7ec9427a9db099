// VQA accuracy (Antol et al. 2015) with the answer processing of EvalAI, as TextVQA and VQAv2 use it.
#include <algorithm>
#include <cmath>
#include <map>

#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

// The list of the VQA evaluation: a word without its apostrophe, and with it. Of words with two apostrophes either may
// be missing.
const std::map<Text, Text>& contractions() {
  static const std::map<Text, Text> table = [] {
    std::map<Text, Text> t;
    for (const Text& word : python::split(
             U"ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll "
             U"how's isn't it'd it'll ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't "
             U"should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll "
             U"that's "
             U"there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're "
             U"what's "
             U"what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've "
             U"wouldn't y'all you'd you'll you're you've"))
      t[replace(word, U"'", U"")] = word;
    for (const Text& word : python::split(
             U"couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've "
             U"something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've y'all'll")) {
      const std::size_t first = word.find(U'\''), second = word.rfind(U'\'');
      t[word.substr(0, first) + word.substr(first + 1)] = word;
      t[word.substr(0, second) + word.substr(second + 1)] = word;
    }
    for (const View word : {U"ow's'at", U"'ows'at", U"'ow'sat"}) t[Text(word)] = U"'ow's'at";
    for (const View word : {U"yall'd've", U"y'alld've", U"y'all'dve"}) t[Text(word)] = U"y'all'd've";
    t[U"somebody'd"] = U"somebodyd";
    return t;
  }();
  return table;
}

Text without_breaks(View s) { return strip(replace(replace(s, U"\n", U" "), U"\t", U" ")); }

// A mark is deleted where the text has it beside a blank, or has a comma between digits anywhere; otherwise it becomes
// a blank. Then the dots that no digit follows: 32 of them, because a flag stands where re.sub takes its count.
Text process_punctuation(const Text& in) {
  static const Regex comma(UR"((?<=\d)(\,)+(?=\d))"), period(UR"((?!<=\d)(\.)(?!\d))");
  const bool number = comma.search(in).has_value();
  Text out = in;
  for (const char32_t mark : View(U";/[]\"{}()=+\\_-><@`,?!")) {
    const Text p(1, mark);
    out = replace(out, p, number || has(in, p + U" ") || has(in, U" " + p) ? U"" : U" ");
  }
  return period.sub(U"", out, 32);
}

Text process_digit_article(const Text& in) {
  static const View numbers[] = {U"zero", U"one",   U"two",   U"three", U"four", U"five",
                                 U"six",  U"seven", U"eight", U"nine",  U"ten"};
  std::vector<Text> out;
  for (Text word : python::split(lower(in))) {
    if (word == U"none") word = U"zero";
    if (const auto* at = std::find(std::begin(numbers), std::end(numbers), View(word)); at != std::end(numbers))
      word = text(std::to_string(at - numbers));
    if (word == U"a" || word == U"an" || word == U"the") continue;
    const auto known = contractions().find(word);
    out.push_back(known == contractions().end() ? word : known->second);
  }
  return join(U" ", out);
}

Text textvqa_form(View answer) {
  const Text words = strip(replace(replace(replace(lower(answer), U",", U""), U"?", U""), U"'s", U" 's"));
  return process_digit_article(process_punctuation(without_breaks(words)));
}
Text vqav2_form(View answer) { return process_digit_article(process_punctuation(without_breaks(answer))); }

// The mean of doubles as statistics.mean takes it: exact, rounded once. `thirds[k]`: how many golds have k matches.
double exact_mean(const std::vector<std::size_t>& matches) {
  unsigned __int128 sum = 0;  // in units of 2^-54
  for (const std::size_t n : matches)
    sum += static_cast<unsigned __int128>(std::ldexp(std::min(1.0, static_cast<double>(n) / 3), 54));
  const unsigned __int128 scaled = sum << 60, n = matches.size();
  return std::ldexp(static_cast<double>(scaled / n | (scaled % n ? 1 : 0)), -114);
}

// Each person's answer is compared with those of the others: 1 from three matches on.
Json vqa(const Case& c, Text (*form)(View), bool by_place) {
  const Text reply = form(c.reply);
  std::vector<Text> answers, seen;
  Json distinct = Json::array();  // the different golds as they are given, then normalised
  const Json& given = c.line.at("answer");
  for (const Text& gold : of_field("answer", [&] {
         std::vector<Text> all;
         for (const Json& a : given.items()) all.push_back(text(a.as_string()));
         return all;
       })) {
    answers.push_back(form(gold));
    if (std::find(seen.begin(), seen.end(), gold) != seen.end()) continue;
    seen.push_back(gold);
    distinct.push(utf8(answers.back()));
  }
  std::vector<std::size_t> matches;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    std::size_t n = 0;
    for (std::size_t j = 0; j < answers.size(); ++j)
      n += answers[j] == reply && (by_place ? i != j : answers[i] != answers[j]);
    matches.push_back(n);
  }
  if (matches.empty()) throw Raised{"StatisticsError"};
  Json out = Json::object({{"parsed", utf8(reply)}});
  if (form == textvqa_form) out.set("answers_processed", std::move(distinct));
  out.set("score", exact_mean(matches));
  return out;
}

Json textvqa(const Case& c) { return vqa(c, textvqa_form, true); }
// "The others" are the records that differ: without answer ids, equal answers are one record.
Json vqav2(const Case& c) {
  const Json* ids = c.doc("answer_ids");
  return vqa(c, vqav2_form, c.compat == Compat::fixed || !ids || !ids->is_boolean() || ids->as_bool());
}

Json metrics(const Lines& l, Compat) { return Json::object({{"exact_match", mean_metric(scores(l))}}); }

}  // namespace

Rows vqa_tasks() { return {{"textvqa", textvqa, metrics}, {"vqav2", vqav2, metrics}}; }

}  // namespace ov::public_tasks
