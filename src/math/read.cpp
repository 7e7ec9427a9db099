#include "math/read.h"

#include <algorithm>

#include "text/pattern.h"

namespace ov::math {
namespace {

enum class Target { letter, latex, expression };
struct Rule {
  Pattern pattern;
  Target target;
  int priority;
};

const std::string final_hope = "(?i:final answer is):?\\s*", hope = "\\.?\\s?I hope",
                  final_is = "(?i:final answer.{0,100}?)\\s+is:?", answer = "(?i:answer)",
                  answer_colon = "(?i:answer):";

void letter_rules(std::vector<Rule>& rules) {
  const std::string key = "(?P<letter>[A-Za-z])", end = R"((?:\*\*)?(?:\.|,|:|\s|$))", bold = R"((?:\*\*)?)";
  const std::string anywhere = R"((?:^|\s))" + bold + key + end;
  const auto add = [&](const std::string& p, int priority) { rules.push_back({Pattern(p), Target::letter, priority}); };
  add(final_hope + key + hope, 0);
  add(final_is + "\\s*" + key, 50);
  add(answer_colon + ".{0,50}?" + anywhere, 100);
  add(answer + ".{0,50}?" + anywhere, 200);
  add("^" + bold + key + end, 250);
  add(anywhere, 300);
}

// One piece of LaTeX; with `box`, one that holds a \boxed{..}.
std::string latex_piece(const std::string& prefix, bool box) {
  const auto inside = [&](const std::string& c) { return box ? c + "*?\\\\boxed{" + c + "+?}" + c + "*?" : c + "+?"; };
  const auto group = [&](const std::string& name, const std::string& c) {
    return "(?P<" + prefix + name + ">" + inside(c) + ")";
  };
  std::string p = R"((?:(?:(?<!\\)\$\$)" + group("display", R"((?:[^$]|\$(?!\$)))") + R"((?<!\\)\$\$|(?<!\\)\\\[)" +
                  group("square", R"((?:[^\\]|\\(?!\])))") + R"((?<!\\)\\\]|(?<!\\|\d)\$)" +
                  group("inline", R"((?:\\[$]|[^\n$]))") + R"((?<!\\)\$|(?<!\\)\\\()" +
                  group("round", R"((?:[^\\\n]|\\(?!\))))") + R"((?<!\\)\\\)|\s\[)" + group("list", R"([^\n\]\[])") +
                  R"(\]\s)";
  if (!box) {
    const std::string n = R"(-?\d+(?:[.,]\d+)?)";
    p += "|(?P<" + prefix + "fraction>-?\\\\frac{" + n + "}{" + n + "})";
  }
  return p + R"()\s*(?P<)" + prefix + R"(percent>\\?%|[Pp]ercent|[Pp]ercentage|[Pp]ct)?))";
}

const std::vector<std::string> pieces = {"a_", "b_", "c_", "d_", "e_", "f_"};
const std::vector<std::string> kinds = {"display", "square", "inline", "round", "list", "fraction", "boxed"};

// Up to six pieces with "and", "or" or commas between them.
std::string latex_pieces(bool box) {
  std::string p = latex_piece(pieces[0], box);
  for (std::size_t i = 1; i < pieces.size(); ++i)
    p += R"((?:\s*(?:,?and|,?or|,)\s*)" + latex_piece(pieces[i], box) + ")?";
  return "(?:" + p + ")";
}

void latex_rules(std::vector<Rule>& rules) {
  const std::string plain = latex_pieces(false);
  const auto add = [&](const std::string& p, int priority) {
    rules.push_back({Pattern(p, true), Target::latex, priority});
  };
  add(final_hope + plain + hope, 0);
  add(final_is + "\\s*" + plain, 50);
  add(answer_colon + ".{0,50}?" + plain, 100);
  add(answer + ".{0,50}?" + plain, 200);
  add(plain, 300);
  add(latex_pieces(true), 50);
  add(R"((?P<a_boxed>\\boxed{.+}))", 50);
}

void expression_rules(std::vector<Rule>& rules) {
  const auto number = [](const std::string& n) {
    return R"((?<!\d)(?:(?P<whole1)" + n + R"(>-?[1-9]\d{0,2}(?:[ ,]\d{3})+)(?P<part1)" + n + R"(>\.\d+)?|(?P<whole2)" +
           n + R"(>-?\d+)(?P<part2)" + n + R"(>[.,]\d+)|(?P<part3)" + n + R"(>\.\d+)|(?P<whole3)" + n +
           R"(>-?\d+))(?P<percent)" + n + R"(>\s*(?:%|[Pp]ercent|\s*[Pp]ercentage|\s*[Pp]ct))?)";
  };
  const std::string operators = R"(+\-*×/^()÷)", characters = R"([\d.\s)" + operators + "]";
  const std::string expression =
      R"((?P<expression>-?\(?-?\d)" + characters + "*[" + operators + "]" + characters + R"(+\)?))";
  const std::string start = R"((?:^|\s|=)(?:\*\*)?)", end = R"((?:\*\*)?(?:\.|,|:|\s|\)|\$|$))";
  const std::string as_expression = "(?:" + start + expression + end + ")";
  const std::string as_number = "(?:" + start + "[$£¥฿₡-₿]?" + number("") + ")";
  const std::string either = "(?:" + as_expression + "|" + as_number + ")";
  const auto add = [&](const std::string& p, int priority) {
    rules.push_back({Pattern(p), Target::expression, priority});
  };
  add(final_hope + either + hope, 0);
  add(final_is + either, 50);
  add(answer_colon + R"((?:.{0,100}=\s*|.{0,50}?))" + either + R"((?!\s*=))", 100);
  add(answer + R"((?:.{0,100}=\s*|.{0,50}?))" + either + R"((?!\s*=))", 200);
  add(as_expression, 300);
  add(as_number, 300);
}

const std::vector<Rule>& rules() {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> r;
    letter_rules(r), latex_rules(r), expression_rules(r);
    std::stable_sort(r.begin(), r.end(), [](const Rule& a, const Rule& b) { return a.priority < b.priority; });
    return r;
  }();
  return all;
}

E percent(const E& e) { return node(Expr::Kind::multiply, {e, number(1, 100)}); }

std::optional<Value> latex_value(const Text& latex) {
  try {
    return read_latex(latex);
  } catch (const Unreadable&) {}
  // a = b = c: the last side alone. Lists are left whole.
  static const Pattern sign(R"((?<![\\<!>])=)");
  const auto signs = sign.all(latex);
  if (signs.size() < 2 || has(latex, U",") || has(latex, U";")) return std::nullopt;
  try {
    return read_latex(View(latex).substr(signs.back().end));
  } catch (const Unreadable&) { return std::nullopt; }
}

Reading from_latex(const Match& m) {
  std::vector<std::optional<Value>> values;
  Reading r;
  for (const std::string& piece : pieces)
    for (const std::string& kind : kinds)
      if (const View latex = m[piece + kind]; !latex.empty()) {
        const Text normal = normal_latex(latex, {.repairs = true, .last_box = kind == "boxed"});
        if (values.empty()) r.text = normal;
        else r.text += U" and " + normal;
        values.push_back(latex_value(normal));
        if (!m[piece + "percent"].empty() && values.back() && values.back()->kind == Value::Kind::expr)
          values.back()->expr = percent(values.back()->expr);
        break;
      }
  if (values.empty()) return r;
  if (values.size() > 1 && std::all_of(values.begin(), values.end(), [](const auto& v) { return v.has_value(); })) {
    std::vector<Value> items;
    for (const auto& v : values)
      if (v->kind == Value::Kind::set) items.insert(items.end(), v->items.begin(), v->items.end());
      else items.push_back(*v);
    r.value = set_of(items);
  } else {
    r.value = values[0];
    if (values.size() > 1) r.text = r.text.substr(0, r.text.find(U" and "));
  }
  return r;
}

Reading from_expression(const Match& m) {
  Reading r;
  const auto first = [&](std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (!m[name].empty()) return Text(m[name]);
    return Text();
  };
  Text whole = first({"whole1", "whole2", "whole3"});
  const Text part = first({"part1", "part2", "part3"});
  try {
    if (!whole.empty() || !part.empty()) {
      whole = replace(replace(whole, U",", U""), U" ", U"");
      const auto zeros = whole.find_first_not_of(U'0');
      whole = zeros == whole.npos ? U"0" : whole.substr(zeros);
      r.text = whole + replace(part, U",", U".");
      const E e = decimal(ascii(r.text));
      r.value = of(m["percent"].empty() ? e : percent(e));
    } else if (const View e = m["expression"]; !e.empty()) {
      r.text = Text(e);
      r.value = of(read_arithmetic(e));
    }
  } catch (const Unreadable&) {}
  return r;
}

Reading from_letter(const Match& m) {
  Reading r;
  r.text = Text(m["letter"]);
  r.letter = lower(r.text);
  return r;
}

}  // namespace

Reading read(View text, bool letters) {
  Reading out;
  const auto& all = rules();
  for (std::size_t at = 0; at < all.size();) {
    std::vector<std::pair<Match, Target>> matches;
    const int priority = all[at].priority;
    for (; at < all.size() && all[at].priority == priority; ++at)
      if (letters || all[at].target != Target::letter)
        for (Match& m : all[at].pattern.all(text)) matches.emplace_back(std::move(m), all[at].target);
    std::stable_sort(matches.begin(), matches.end(), [](const auto& a, const auto& b) {
      return a.first.end != b.first.end ? a.first.end > b.first.end : a.first.begin < b.first.begin;
    });
    for (const auto& [m, target] : matches) {
      Reading r = target == Target::letter  ? from_letter(m)
                  : target == Target::latex ? from_latex(m)
                                            : from_expression(m);
      if (out.text.empty()) out.text = r.text;
      if (!r.letter && !r.value) continue;
      out.letter = r.letter, out.value = r.value;
      return out;
    }
  }
  return out;
}

bool equal(const Reading& a, const Reading& b) {
  if (a.value && b.value && equal(*a.value, *b.value)) return true;
  for (const auto& x : {a.letter.value_or(U""), a.text})
    for (const auto& y : {b.letter.value_or(U""), b.text})
      if (!trim(x).empty() && trim(x) == trim(y)) return true;
  return false;
}

Verdict compare(View gold, View answer) {
  try {
    const Reading g = read(gold, false), a = read(answer, false);
    if (equal(g, a)) return Verdict::equal;
    const auto unread = [](const Reading& r) { return !r.value && !r.text.empty(); };
    return unread(g) || unread(a) ? Verdict::unknown : Verdict::different;
  } catch (const PatternTookTooLong&) { return Verdict::unknown; }
}

}  // namespace ov::math
