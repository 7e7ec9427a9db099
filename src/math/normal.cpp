// The normal form of LaTeX (latex2sympy2_extended, math_normalization), as a table of replacements.
#include <map>

#include "math/latex.h"
#include "text/pattern.h"

namespace ov::math {
namespace {

// What is written for the first alternative that matches, by its name.
Text renamed(View text) {
  static const std::vector<std::tuple<std::string, std::string, std::string>> rules = {
      {"math", R"(\\math(?:rm|it|bf))", R"(\text)"},
      {"text", R"(\\text(?:normal|bf|it|rm))", R"(\text)"},
      {"frac", R"(\\(?:d|t|c)frac)", R"(\frac)"},
      {"point", R"(\s\.)", " 0."},
      {"brace", R"(\{\.)", "{0."},
      {"about", "~=", R"(\approx)"},
      {"comma", R"(\s*\{\s*,\s*\})", ","},
      {"and", R"((?<![a-zA-Z])(?:,?\s*(?:and|or))(?![a-zA-Z]))", ","},
      {"and_text", R"(,?\s*\\text{\s*(?:and|or)\s*})", ","},
      {"blank", R"((?<!\\)\\\s)", " "},
      {"infinity", "infinity", R"(\infty)"},
      {"dots", R"(,?\\ldots)", " "},
      {"percentage", R"(\s*percentage)", R"(\%)"},
      {"percentage_text", R"(\\text{percentage})", R"(\%)"},
      {"percent", R"(\s*percent)", R"(\%)"},
      {"percent_text", R"(\\text{percent})", R"(\%)"},
      {"pct", R"(\s*pct)", R"(\%)"},
      {"pct_text", R"(\\text{pct})", R"(\%)"},
      {"inf", R"((?<!\\)inf(?!inity))", R"(\infty)"},
      {"sqrt", " sqrt", R"(\sqrt)"},
  };
  static const Pattern all = [] {
    std::string alternatives;
    for (const auto& [name, pattern, with] : rules)
      alternatives += (alternatives.empty() ? "(?P<" : "|(?P<") + name + ">" + pattern + ")";
    return Pattern(alternatives);
  }();
  return all.replace_each(text, [](const Match& m) -> Text {
    for (const auto& [name, pattern, with] : rules)
      if (m.groups[static_cast<std::size_t>(m.names->at(name))]) return python::text(with);
    return {};
  });
}

// Units at the end, after a digit, a brace or a blank. The original's list, in its order.
const Pattern& unit() {
  static const Pattern pattern(
      R"((\d|\}|\s)\s*(?:(?:integerpoint|feet|sue|digit|pound|meal|edge|student|children ticket|multiple|)"
      R"(east|degree|mph|kmph|ft|m square| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|)"
      R"(p . m|lb|tile|per|dm|lt|gain|ab|way|west|a .|b .|c .|d .|e .|f .|g .|h .|t|h|no change|men|soldier|)"
      R"(pie|bc|excess|st|inches|noon|cent|by|gal|kmh|c|acre|rise|a . m|th|π r 2|sq|mark|l|toy|coin|sq . m|)"
      R"(gallon|° f|profit|minw|yr|women|am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|mtr|s|ohm|)"
      R"(number|kmph|day|hour|minute|min|second|man|woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|)"
      R"(unit|cu . m|cm 2|rs .|rs|kg|g|month|km|m|cm|mm|apple|liter|loss|yard|pure|year|increase|decrease|d|)"
      R"(less|Surface|litre|pi sq m|s .|metre|meter|inch)(?:s|es)?)\s*$)");
  return pattern;
}

// The contents of \boxed{..} and \fbox{..}, joined by commas; the text itself where there is none. `last`: from the
// last one backwards, while they stand close to each other.
Text boxed(View text, bool last) {
  std::vector<Text> found;
  std::size_t before = text.size(), limit = text.size();
  for (;;) {
    const auto in = text.substr(0, before);
    const auto box = in.rfind(U"\\boxed"), frame = in.rfind(U"\\fbox");
    if (box == in.npos && frame == in.npos) break;
    const bool is_box = frame == in.npos || (box != in.npos && box > frame);
    const auto start = is_box ? box : frame;
    auto at = start + (is_box ? 6 : 5);
    while (at < limit && is_space(text[at])) ++at;
    if (at >= limit) break;
    auto end = at;
    if (text[at] == U'{') {
      int depth = 0;
      for (; end < limit; ++end) {
        depth += text[end] == U'{' ? 1 : text[end] == U'}' ? -1 : 0;
        if (depth == 0) break;
      }
    }
    if (text[at] != U'{' || end >= limit) {  // it is never closed
      if (found.empty()) found.emplace_back(text.substr(at));
      break;
    }
    const Text content(trim(text.substr(at + 1, end - at - 1)));
    if (last && !found.empty()) {
      const View between = text.substr(end + 1, before - end - 1);
      static const Pattern joins("and|or|,|;");
      if (between.size() >= 10 && !(content != found.back() && between.size() < 70 && joins.search(between))) break;
    }
    found.push_back(content);
    before = limit = start;
  }
  if (found.empty()) return Text(text);
  Text out;
  for (auto it = found.rbegin(); it != found.rend(); ++it) out += (it == found.rbegin() ? U"" : U",") + *it;
  return out;
}

// \frac12 and \frac1{2} get their braces.
Text mended_fractions(const Text& text) {
  Text out;
  bool first = true;
  for (std::size_t at = 0; at <= text.size();) {
    auto end = text.find(U"\\frac", at);
    if (end == text.npos) end = text.size();
    View part(View(text).substr(at, end - at));
    at = end + (end == text.size() ? 1 : 5);
    if (first) {
      out += part, first = false;
      continue;
    }
    while (!part.empty() && is_space(part[0])) part.remove_prefix(1);
    out += U"\\frac";
    if (!part.empty() && part[0] == U'{') out += part;
    else if (part.size() < 2) return text;
    else {
      out += Text(U"{") + part[0] + U"}";
      out += part[1] == U'{' ? Text(part.substr(1)) : Text(U"{") + part[1] + U"}" + Text(part.substr(2));
    }
  }
  return out;
}

Text repaired(Text t) {
  static const std::vector<std::pair<Pattern, std::string>> operators = [] {
    std::vector<std::pair<Pattern, std::string>> r;
    for (const auto& [pattern, with] : {std::pair{R"(\^\s?\((.*?)\))", R"(^{\1})"},
                                        {R"(sqrt\s?\((.*?)\))", R"(\sqrt{\1})"},
                                        {R"(\\frac\s?(\d)\s?(\d+))", R"(\frac{\1}{\2})"},
                                        {R"(\\log_\s?(\d)\s?(\d+))", R"(\log_{\1}{\2})"},
                                        {R"(\\frac\s?{(.*?)}\s?(\d))", R"(\frac{\1}{\2})"},
                                        {R"(\\frac\s?(\d)\s?{(.*?)})", R"(\frac{\1}{\2})"},
                                        {R"(\\sqrt\s?(\d))", R"(\sqrt{\1})"}})
      r.emplace_back(Pattern(pattern), with);
    return r;
  }();
  static const Pattern text_unit(R"((\\(?:text|mbox){.*?})(\^\d|\{\^\d\})?$)"), bare_root(R"(\\sqrt\s*([^\s{\[]))"),
      fraction(R"(^(-?(?:0|[1-9]\d*))/(-?(?:0|[1-9]\d*))$)");
  const auto unless_empty = [&](const Text& n) {
    if (!n.empty()) t = n;
  };
  unless_empty(Text(trim(text_unit.replace(t, ""))));
  for (int i = 0; i < 2; ++i) unless_empty(unit().replace(t, "\\1"));
  if (!t.empty() && t[0] == U'.') t = U"0" + t;
  if (t == U"0.5") t = U"\\frac{1}{2}";
  for (const auto& [pattern, with] : operators) t = pattern.replace(t, with);
  t = replace(t, U" sqrt", U"\\sqrt");
  t = bare_root.replace(t, "\\sqrt{\\1}");
  return fraction.replace(mended_fractions(t), "\\frac{\\1}{\\2}");
}

}  // namespace

Text normal_latex(View latex, const Normal& options) {
  static const Pattern side(
      R"(\\m?(?:left|right)(?=\\?[{}|\[\]()]|\\(?:[lr]?(?:brac|vert|ceil|floor|angle|group)|[lu][lr]corner)))");
  static const Pattern useless(R"(\\mathrm{th}|\\!\s*|\\text\s*{\s*}|\\\$|\$|(?<!\\)["']|\\displaystyle)");
  static const Pattern doubled(R"(\\\\(?=[a-zA-Z]))");
  Text t = boxed(latex, options.last_box);
  t = replace(t, U"\\mathrm{T}", U"T");
  t = replace(replace(t, U"\\mathrm{d}", U"d"), U"{\\rm d}", U"d");
  t = renamed(useless.replace(side.replace(t, ""), ""));
  t = replace(replace(t, U"\n", U" "), U"\t", U" ");
  if (!has(t, U"matrix")) t = doubled.replace(t, "\\");
  if (options.repairs) t = repaired(t);
  return Text(trim(t));
}

}  // namespace ov::math
