// MMMU and MMMU-Pro: letters by position, open questions by the numbers and texts that a reply ends with.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
using namespace python;

// A list of strings as Python prints it: the data set holds its options so.
std::vector<Text> printed_list(const Text& s) {
  const auto fault = [&] { input_error("options: expected a printed list of strings, found ", utf8(s)); };
  const Text inner = strip(s);
  if (inner.size() < 2 || inner.front() != U'[' || inner.back() != U']') fault();
  std::vector<Text> out;
  std::size_t i = 1;
  const std::size_t end = inner.size() - 1;
  const auto blanks = [&] {
    while (i < end && is_space(inner[i])) ++i;
  };
  const auto number = [&](std::size_t digits, int base) {
    char32_t value = 0;
    for (std::size_t n = 0; n < digits && i < end; ++n) {
      const std::string digit = utf8(inner.substr(i, 1));
      if (digit.empty() || !std::isxdigit(static_cast<unsigned char>(digit[0])) || (base == 8 && digit[0] > '7')) break;
      value = value * static_cast<char32_t>(base) + static_cast<char32_t>(std::stoi(digit, nullptr, base));
      ++i;
    }
    return value;
  };
  for (blanks(); i < end; blanks()) {
    const char32_t quote = inner[i++];
    if (quote != U'\'' && quote != U'"') fault();
    Text item;
    while (i < end && inner[i] != quote) {
      if (inner[i] != U'\\' || i + 1 >= end) {
        item += inner[i++];
        continue;
      }
      const char32_t c = inner[i + 1];
      i += 2;
      constexpr View names = U"\\'\"abfnrtv", values = U"\\'\"\a\b\f\n\r\t\v";
      if (const auto at = names.find(c); at != View::npos) item += values[at];
      else if (c == U'x') item += number(2, 16);
      else if (c == U'u') item += number(4, 16);
      else if (c == U'U') item += number(8, 16);
      else if (c >= U'0' && c <= U'7') --i, item += number(3, 8);
      else if (c != U'\n') (item += U'\\') += c;
    }
    if (i++ >= end) fault();
    out.push_back(item);
    blanks();
    if (i < end && inner[i++] != U',') fault();
  }
  return out;
}

namespace {

struct Options {
  std::vector<Text> texts;
  bool known = true;
};
// A bare name instead of a list stands for ten options, MMMU-Pro's number, of which only the letters are known.
Options options(const Case& c) {
  Options out;
  const Json* o = c.doc("options");
  if (!o) input_error("doc.options: missing");
  if (o->is_array())
    for (const Json& item : o->items()) out.texts.push_back(text(item.as_string()));
  else if (const Text s = text(o->as_string()); !s.empty() && (is_alpha(s[0]) || s[0] == U'_'))
    out = {std::vector<Text>(10), false};
  else out.texts = printed_list(s);
  return out;
}

// No letter found: theirs draws one of Python's random numbers. Nothing is drawn here, and the case counts as wrong.
std::optional<Text> parse_choice(const Text& reply, const Options& options) {
  const Text padded = U" " + strip_marks(reply, U",.!?;:'") + U" ", low = lower(padded);
  const std::vector<Text> all = letters(options.texts.size());
  const auto bracketed = [](const Text& l) { return U"(" + l + U")"; };
  const auto containing = [&](auto form) {
    std::vector<Text> found;
    for (const Text& l : all)
      if (has(padded, form(l))) found.push_back(l);
    return found;
  };
  std::vector<std::size_t> places;  // of npos first: a form that is missing loses, as -1 does
  std::vector<Text> found = containing(bracketed);
  const auto last = [](std::size_t at) { return at == Text::npos ? 0 : at + 1; };
  if (!found.empty()) {
    for (const Text& l : found) places.push_back(last(padded.rfind(bracketed(l))));
  } else {
    found = containing([](const Text& l) { return l + U" "; });
    if (found.empty()) found = containing([](const Text& l) { return l + U"."; });
    for (const Text& l : found) places.push_back(last(padded.rfind(U" " + l + U" ")));
  }
  if (found.empty() && options.known && python::split(padded).size() > 5)
    for (std::size_t i = 0; i < all.size(); ++i)
      if (const std::size_t at = low.rfind(lower(options.texts[i])); at != Text::npos)
        found.push_back(all[i]), places.push_back(last(at));
  if (found.empty()) return {};
  return found[static_cast<std::size_t>(std::max_element(places.begin(), places.end()) - places.begin())];
}

struct Answers {  // of an open question: texts, and numbers to two places
  std::vector<Text> texts;
  Values numbers;
  void add(View s) {
    const Text bare = strip(s);
    if (const auto number = to_float(replace(bare, U",", U""))) {
      const double value = python::round(*number, 2);
      if (std::find(numbers.begin(), numbers.end(), value) == numbers.end()) numbers.push_back(value);
      return;
    }
    const Text low = lower(bare);
    for (const Text& t : low.size() == 1 ? std::vector{U" " + low, low + U" "} : std::vector{low})
      if (std::find(texts.begin(), texts.end(), t) == texts.end()) texts.push_back(t);
  }
};

std::vector<Text> numbers_in(View s) {
  static const Regex patterns[] = {Regex(UR"(-?\b\d{1,3}(?:,\d{3})+\b)"), Regex(UR"(-?\d+(?:\.\d+)?[eE][+-]?\d+)"),
                                   Regex(UR"(-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d]))")};
  std::vector<Text> out;
  for (const Regex& pattern : patterns)
    for (const auto& found : pattern.find_all(s)) out.push_back(*found.groups[0]);
  return out;
}

// The shortest tail of each line after a word that announces an answer; the whole reply when no line has one.
Answers parse_open(const Text& reply) {
  static const View announcing[] = {U"could be ", U"so ",     U"is ",     U"thus ", U"therefore ",
                                    U"final ",    U"answer ", U"result ", U"="};
  const Text whole = lower(strip(strip(reply), U"."));
  const auto lines = python::split(whole, U"\n");
  std::vector<Text> tails;
  for (std::size_t n = 0; n < lines.size(); ++n) {
    Text shortest;
    for (const View word : announcing) {
      const std::size_t at = lines[n].rfind(word);
      if (at == Text::npos || (word == U"=" && n + 1 < lines.size())) continue;
      const Text tail = strip(lines[n].substr(at + word.size()));
      if (shortest.empty() || tail.size() < shortest.size()) shortest = tail;
    }
    const bool mark = shortest.size() == 1 && View(U":,.!?;'").find(shortest[0]) != View::npos;
    if (!shortest.empty() && !mark) tails.push_back(shortest);
  }
  if (tails.empty()) tails = {whole};
  Answers out;
  for (const Text& tail : tails) out.add(tail);
  for (const Text& tail : tails)
    for (const Text& number : numbers_in(tail)) out.add(number);
  return out;
}

bool open_is_right(const Json& gold, const Answers& said) {
  Answers right;
  if (gold.is_array())
    for (const Json& g : gold.items()) right.add(text(g.as_string()));
  else right.add(text(gold.as_string()));
  for (const Text& s : said.texts)
    for (const Text& g : right.texts)
      if (has(s, g)) return true;
  return std::any_of(said.numbers.begin(), said.numbers.end(), [&](double v) {
    return std::find(right.numbers.begin(), right.numbers.end(), v) != right.numbers.end();
  });
}

Json listed(Answers a) {  // texts, then numbers, each sorted
  std::sort(a.texts.begin(), a.texts.end());
  std::sort(a.numbers.begin(), a.numbers.end());
  Json out = Json::array();
  for (const Text& t : a.texts) out.push(utf8(t));
  for (const double v : a.numbers) out.push(number_json(v));
  return out;
}

bool same_letter(const Json& gold, const Text& letter) {
  if (gold.is_string()) return text(gold.as_string()) == letter;
  const auto& all = gold.items();
  return std::any_of(all.begin(), all.end(), [&](const Json& g) { return text(g.as_string()) == letter; });
}

struct Parsed {
  Json parsed;
  bool right = false, random = false;
};
Parsed parse(const Case& c, const Text& reply, bool open) {
  const Json& gold = c.line.at("answer");
  if (open) {
    const Answers said = parse_open(reply);
    return {listed(said), open_is_right(gold, said), false};
  }
  const auto letter = parse_choice(reply, options(c));
  if (!letter) return {Json(), false, true};
  return {utf8(*letter), same_letter(gold, *letter), false};
}

// "predictions" in place of a reply: several of them, right when one is (pass@k).
Json choice(const Case& c, bool open) {
  if (const Json* several = c.line.find("predictions")) {
    Json parsed = Json::array();
    bool right = false;
    for (const Json& reply : several->items()) {
      Parsed p = parse(c, without_reasoning(text(reply.as_string())), open);
      right |= p.right;
      parsed.push(std::move(p.parsed));
    }
    return Json::object({{"parsed", std::move(parsed)}, {"score", right ? 1.0 : 0.0}});
  }
  Parsed p = parse(c, c.reply, open);
  Json out = Json::object({{"parsed", std::move(p.parsed)}});
  if (p.random) out.set("random", true);
  if (!open && !options(c).known) out.set("options_unknown", true);
  out.set("score", p.right ? 1.0 : 0.0);
  return out;
}

Json mmmu(const Case& c) { return choice(c, doc_field(c.line, "question_type") != "multiple-choice"); }
Json mmmu_pro(const Case& c) { return choice(c, false); }
Json mmmu_pro_vision(const Case& c) {  // the reply itself must be the letter: "A." is wrong
  return Json::object({{"score", same_letter(c.line.at("answer"), c.reply) ? 1.0 : 0.0}});
}

// "validation_Art_Theory_12" is of Art_Theory.
std::string subject(const Json& line) {
  if (const std::string given = doc_field(line, "subject"); !given.empty()) return given;
  const std::string id = doc_field(line, "id");
  const std::string name = subject_of(id);
  if (name.empty()) input_error("doc.id: expected SPLIT_SUBJECT_NUMBER, found ", id);
  return name;
}

Json mmmu_metrics(const Lines& lines, Compat) {
  double right = 0, n = 0;
  Json subjects = Json::object();
  for (const auto& [name, own] : grouped(lines, subject)) {
    const Values values = scores(own);
    const auto count = static_cast<double>(values.size());
    right += sum(values) / count * count, n += count;
    subjects.set(name, share_metric(values));
  }
  Json acc = share_metric(scores(lines));
  acc.set("value", n > 0 ? python::round(right / n, 5) : 0);
  std::size_t guessed = 0;
  for (const Json& l : lines) guessed += l.find("random") != nullptr;
  acc.set("n_guessed", guessed);
  return Json::object({{"mmmu_acc", std::move(acc)}, {"subjects", std::move(subjects)}});
}

}  // namespace

std::string subject_of(const std::string& id) {
  const std::size_t begin = id.find('_'), end = id.rfind('_');
  if (begin == id.npos || end <= begin + 1) return "";
  const Text number = text(id.substr(end + 1));
  static const Regex digits(UR"(\d+$)");
  if (!digits.match(number)) return "";
  return id.substr(begin + 1, end - begin - 1);
}

Rows mmmu_tasks() {
  return {{"mmmu", mmmu, mmmu_metrics},
          {"mmmu_pro_standard", mmmu_pro, mmmu_metrics},
          {"mmmu_pro_vision", mmmu_pro_vision, mmmu_metrics}};
}

}  // namespace ov::public_tasks
