#include "eval/scorers/captions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

using Words = std::vector<Text>;
constexpr std::size_t longest = 4;                           // words of an n-gram
using Grams = std::array<std::map<Words, double>, longest>;  // counts, or weights, by length

Grams grams(const Words& words) {
  Grams out;
  for (std::size_t n = 1; n <= longest; ++n)
    for (std::size_t i = 0; i + n <= words.size(); ++i)
      out[n - 1]
         [Words(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + n))]++;
  return out;
}

double size(const Words& w) { return static_cast<double>(w.size()); }

// Counts clipped to the most that one reference has, over the whole corpus; the brevity of the corpus beside the
// references closest in length. The small numbers are theirs.
void bleu(const std::vector<Words>& captions, const std::vector<std::vector<Words>>& references, double (&out)[4]) {
  constexpr double tiny = 1e-15, small = 1e-9;
  double right[longest] = {}, guesses[longest] = {}, tested = 0, closest = 0;
  for (std::size_t i = 0; i < captions.size(); ++i) {
    const double length = size(captions[i]);
    tested += length;
    std::pair<double, double> best = {INFINITY, 0};
    Grams most;
    for (const Words& reference : references[i]) {
      best = std::min(best, {std::abs(size(reference) - length), size(reference)});
      const Grams own = grams(reference);
      for (std::size_t n = 0; n < longest; ++n)
        for (const auto& [gram, count] : own[n]) most[n][gram] = std::max(most[n][gram], count);
    }
    closest += best.second;
    const Grams own = grams(captions[i]);
    for (std::size_t n = 0; n < longest; ++n) {
      guesses[n] += std::max(0.0, length - static_cast<double>(n));
      for (const auto& [gram, count] : own[n])
        if (const auto at = most[n].find(gram); at != most[n].end()) right[n] += std::min(count, at->second);
    }
  }
  double product = 1;
  const double ratio = (tested + tiny) / (closest + small);
  for (std::size_t n = 0; n < longest; ++n) {
    product *= (right[n] + tiny) / (guesses[n] + small);
    out[n] = std::pow(product, 1.0 / static_cast<double>(n + 1)) * (ratio < 1 ? std::exp(1 - 1 / ratio) : 1);
  }
}

double common(const Words& a, const Words& b) {  // length of the longest common subsequence
  std::vector<std::size_t> row(b.size() + 1);
  for (const Text& word : a) {
    std::size_t corner = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = word == b[j] ? corner + 1 : std::max(above, row[j]);
      corner = above;
    }
  }
  return static_cast<double>(row[b.size()]);
}

double rouge(const Words& caption, const std::vector<Words>& references) {
  constexpr double beta = 1.2;
  double precision = 0, recall = 0;  // the best of each, maybe of different references
  for (const Words& reference : references) {
    const double both = common(reference, caption);
    precision = std::max(precision, both / size(caption));
    recall = std::max(recall, both / size(reference));
  }
  if (precision == 0 || recall == 0) return 0;
  return (1 + beta * beta) * precision * recall / (recall + beta * beta * precision);
}

struct Weighted {
  Grams weights;
  double norm[longest] = {}, length = 0;  // length: number of bigrams
};

std::vector<double> cider(const std::vector<Words>& captions, const std::vector<std::vector<Words>>& references) {
  std::map<Words, double> pictures;  // in how many pictures' references a gram stands
  for (const auto& own : references) {
    std::set<Words> seen;
    for (const Words& reference : own)
      for (const auto& of_length : grams(reference))
        for (const auto& [gram, count] : of_length) seen.insert(gram);
    for (const Words& gram : seen) ++pictures[gram];
  }
  const double all = std::log(static_cast<double>(references.size()));
  const auto weigh = [&](const Words& words) {
    Weighted w{.weights = grams(words)};
    for (std::size_t n = 0; n < longest; ++n) {
      for (auto& [gram, value] : w.weights[n]) {
        const auto at = pictures.find(gram);
        const double count = value;
        value = count * (all - std::log(std::max(1.0, at == pictures.end() ? 0.0 : at->second)));
        w.norm[n] += value * value;
        if (n == 1) w.length += count;
      }
      w.norm[n] = std::sqrt(w.norm[n]);
    }
    return w;
  };
  std::vector<double> out;
  for (std::size_t i = 0; i < captions.size(); ++i) {
    const Weighted said = weigh(captions[i]);
    double by_length[longest] = {};
    for (const Words& words : references[i]) {
      const Weighted gold = weigh(words);
      const double gap = said.length - gold.length;
      for (std::size_t n = 0; n < longest; ++n) {
        double value = 0;
        for (const auto& [gram, weight] : said.weights[n])
          if (const auto at = gold.weights[n].find(gram); at != gold.weights[n].end())
            value += std::min(weight, at->second) * at->second;
        if (said.norm[n] != 0 && gold.norm[n] != 0) value /= said.norm[n] * gold.norm[n];
        by_length[n] += value * std::exp(-(gap * gap) / (2 * 6.0 * 6.0));
      }
    }
    double sum = 0;
    for (const double v : by_length) sum += v;
    out.push_back(sum / longest / static_cast<double>(references[i].size()) * 10);
  }
  return out;
}

std::vector<Text> reference_texts(const Json& line) {
  std::vector<Text> out;
  const Json& answer = line.at("answer");
  if (answer.is_string()) return {caption_tokens(text(answer.as_string()))};
  for (const Json& a : answer.items()) out.push_back(caption_tokens(text(a.as_string())));
  return out;
}

Json caption(const Case& c) {
  const Text said = caption_tokens(c.reply);
  std::vector<Words> references;
  for (const Text& r : reference_texts(c.line)) references.push_back(python::split(r, U" "));
  if (references.empty()) throw Raised{"AssertionError"};
  return Json::object({{"parsed", utf8(said)}, {"score", rouge(python::split(said, U" "), references)}});
}

Json metrics(const Lines& lines, Compat) {
  std::vector<Text> captions;
  std::vector<std::vector<Text>> references;
  for (const Json& line : lines)
    if (const Json* said = line.find("parsed"))
      captions.push_back(text(said->as_string())), references.push_back(reference_texts(line));
  const CaptionScores s = caption_scores(captions, references);
  Json out = Json::object();
  for (std::size_t n = 0; n < longest; ++n)
    out.set("coco_Bleu_" + std::to_string(n + 1), Json::object({{"value", s.bleu[n]}}));
  out.set("coco_ROUGE_L", share_metric(s.rouges));
  out.set("coco_CIDEr", share_metric(s.ciders));
  return out;
}

}  // namespace

CaptionScores caption_scores(const std::vector<Text>& captions, const std::vector<std::vector<Text>>& references) {
  std::vector<Words> said, split_said;  // BLEU and CIDEr split at any white space, ROUGE at each blank
  std::vector<std::vector<Words>> gold, split_gold;
  for (std::size_t i = 0; i < captions.size(); ++i) {
    said.push_back(python::split(captions[i]));
    split_said.push_back(python::split(captions[i], U" "));
    gold.emplace_back();
    split_gold.emplace_back();
    for (const Text& r : references[i])
      gold[i].push_back(python::split(r)), split_gold[i].push_back(python::split(r, U" "));
  }
  CaptionScores out;
  bleu(said, gold, out.bleu);
  for (std::size_t i = 0; i < captions.size(); ++i) out.rouges.push_back(rouge(split_said[i], split_gold[i]));
  out.ciders = cider(said, gold);
  out.rouge = mean(out.rouges), out.cider = mean(out.ciders);
  return out;
}

Text caption_tokens(View caption) {
  static const Regex ends(UR"((n't|'s|'ll|'re|'ve|'d|'m)(?=[\s.,?!;:]|$))"), ellipsis(UR"(\.\.+|--+)");
  static const Regex marks(UR"([,;:?!"“”`()\[\]{}]|\.(?=\s|$)|(?<=\s)'|'(?=\s|$)|(?<=\s)-(?=\s))");
  Text s = U" " + lower(caption) + U" ";
  for (const auto& [from, to] : {std::pair(View(U"’"), View(U"'")), {U"‘", U"'"}, {U"\n", U" "}})
    s = replace(s, from, to);
  s = ellipsis.sub(U" ", s);
  Text split;
  std::size_t at = 0;
  for (const auto& found : ends.find_all(s)) {
    (split += s.substr(at, found.begin - at)) += U" \u0001" + s.substr(found.begin, found.end - found.begin);
    at = found.end;
  }
  split += s.substr(at);
  split = marks.sub(U" ", split);
  return join(U" ", python::split(replace(split, U"\u0001", U"")));
}

Rows caption_tasks() { return {{"coco_cap", caption, metrics}}; }

}  // namespace ov::public_tasks
