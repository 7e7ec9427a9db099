// MathVision: the answer is found by text rules; two answers are equal as texts, as tuples, or as numbers to two
// places.
//
// lmms-eval 0.7.3 turns LaTeX into a Python expression and evaluates it where no names are known: whatever has a root,
// π or a letter raises, and is unequal unless the texts are the same. Compat::fixed knows roots and π.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/scorers/math_tasks.h"
#include "eval/scorers/statistics.h"
#include "math/python_value.h"
#include "text/pattern.h"

namespace ov::public_tasks {
namespace {

using namespace python;

Text last_part(View s, View part) { return python::split(s, part).back(); }
Text replaced(Text s, std::initializer_list<std::pair<View, View>> pairs) {
  for (const auto& [from, to] : pairs) s = replace(s, from, to);
  return s;
}

// \sqrt2 gets its braces; of several characters only the first.
Text fix_sqrt(const Text& s) {
  auto parts = python::split(s, U"\\sqrt");
  Text out = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const bool bare = !parts[i].empty() && parts[i][0] != U'{';
    out += bare ? U"\\sqrt{" + parts[i].substr(0, 1) + U"}" + parts[i].substr(1) : U"\\sqrt" + parts[i];
  }
  return out;
}
Text fix_fracs(const Text& s) {
  auto parts = python::split(s, U"\\frac");
  Text out = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const Text& p = parts[i];
    out += U"\\frac";
    if (!p.empty() && p[0] == U'{') out += p;
    else if (p.size() < 2) return s;
    else if (p[1] != U'{') out += U"{" + p.substr(0, 1) + U"}{" + p.substr(1, 1) + U"}" + p.substr(2);
    else out += U"{" + p.substr(0, 1) + U"}" + p.substr(1);
  }
  return out;
}
Text fix_slash(const Text& s) {
  const auto parts = python::split(s, U"/");
  if (parts.size() != 2) return s;
  const auto over = to_int(parts[0]), under = to_int(parts[1]);
  if (!over || !under || s != *over + U"/" + *under) return s;
  return U"\\frac{" + *over + U"}{" + *under + U"}";
}

Text strip_string(Text s) {
  s = replaced(s, {{U"\n", U""},
                   {U"\\!", U""},
                   {U"\\\\", U"\\"},
                   {U"tfrac", U"frac"},
                   {U"dfrac", U"frac"},
                   {U"\\left", U""},
                   {U"\\right", U""},
                   {U"^{\\circ}", U""},
                   {U"^\\circ", U""},
                   {U"\\$", U""},
                   {U"$", U""}});
  s = python::split(s, U"\\text{ ")[0];
  s = replaced(s, {{U"\\%", U""}, {U" .", U" 0."}, {U"{.", U"{0."}});
  if (s.empty()) return s;
  if (s[0] == U'.') s = U"0" + s;
  for (const View sign : {U"=", U"\\approx"})
    if (count(s, sign) == 1) s = last_part(s, sign);
  if (has(s, U"sqrt")) s = fix_sqrt(s);
  s = replace(s, U" ", U"");
  if (has(s, U"sqrt")) s = fix_fracs(s);
  if (s == U"0.5") s = U"\\frac{1}{2}";
  return fix_slash(s);
}

// A number as Python would have it after eval(): whole, or a float.
struct Number {
  double value = 0;
  bool whole = false;
};
std::optional<Number> evaluated(View latex, Compat compat) {
  const std::string s = utf8(latex);
  if (s.find('$') != s.npos || s.find("{,}") != s.npos) return {};
  for (std::size_t i = s.find('%'); i != s.npos; i = s.find('%', i + 1))
    if (i == 0 || s[i - 1] != '\\') return {};  // a comment of LaTeX to their parser
  if (compat == Compat::lmms && s.find("\\frac1") != s.npos) return {};
  // Their parser knows ASCII's digits alone, takes braces for brackets, and 2.0 for the whole number that it is.
  if (std::any_of(latex.begin(), latex.end(), [](char32_t c) { return c >= 128 && is_digit(c); })) return {};
  try {
    math::Value v = math::read_latex(math::normal_latex(latex, {}));
    while (v.kind == math::Value::Kind::set && v.items.size() == 1) v = math::Value(v.items[0]);
    if (v.kind != math::Value::Kind::expr) return {};
    try {
      const math::PythonNumber n = math::python_value(v.expr);
      return Number{n.as_double(), n.whole || n.x == std::trunc(n.x)};
    } catch (const math::Unreadable&) {}
    const auto value = compat == Compat::fixed ? math::real_value(v.expr) : std::nullopt;
    if (value && std::isfinite(*value)) return Number{static_cast<double>(*value), false};
  } catch (const math::Unreadable&) {
  } catch (const PatternTookTooLong&) {}  // their clock stops it too
  return {};
}

bool is_row(View s, char32_t open, char32_t close) { return !s.empty() && s.front() == open && s.back() == close; }

// (1+1, 2.0) as "(2,2)": each member rounded to two places. As it was when one cannot be evaluated.
Text eval_tuple(const Text& s, Compat compat) {
  const bool round_brackets = is_row(s, U'(', U')');
  const auto members = python::split(s.size() < 2 ? View() : View(s).substr(1, s.size() - 2), U",");
  if ((!round_brackets && !is_row(s, U'[', U']')) || members.size() < 2) return s;
  std::vector<Text> out;
  for (const Text& member : members) {
    if (has(member, U"infty") || member == U"a" || member == U"-a") {
      out.push_back(member);
      continue;
    }
    const auto number = evaluated(member, compat);
    if (!number) return s;
    out.push_back(number->whole ? int_text(number->value) : text(repr(python::round(number->value, 2))));
  }
  const Text all = join(U",", out);
  return round_brackets ? U"(" + all + U")" : U"[" + all + U"]";
}

Text short_answer(const Text& reply) {
  Text s = strip(reply);
  for (const Text& c : letters(5))
    if (s.ends_with(U" " + c + U".") || s.ends_with(U" (" + c + U").") || s.starts_with(c + U"\n") ||
        s.starts_with(U"(" + c + U")\n") || s.starts_with(U"(" + c + U") " + c + U"\n"))
      s = c;
  if (const Text tail = rstrip(last_part(s, U"is "), U"."); to_float(tail)) s = tail;
  if (!has(s, U"oxed{")) {
    for (const View flag :
         {U"the final answer is", U"the answer is", U"the correct answer is", U"the answer should be"})
      for (const Text& spelling : {Text(flag), replace(flag, U"the", U"The")}) {
        const bool found = has(s, spelling);
        s = strip(last_part(s, spelling));
        if (found) s = python::split(python::split(s, U"\n")[0], U". ")[0];
      }
  } else if (count(s, U"oxed{") > 1) s = U"\\boxed{" + last_part(s, U"oxed{");
  s = replaced(find_math_answer(s), {{U"(a)", U"a"},
                                     {U"(b)", U"b"},
                                     {U"(c)", U"c"},
                                     {U"(d)", U"d"},
                                     {U"(e)", U"e"},
                                     {U"{a}", U"a"},
                                     {U"{b}", U"b"},
                                     {U"{c}", U"c"},
                                     {U"{d}", U"d"},
                                     {U"{e}", U"e"}});
  return strip(lstrip(rstrip(s, U"."), U":"));
}

Json mathvision(const Case& c) {
  const Text gold = c.gold(), answer = short_answer(c.reply);
  const Json* options = c.doc("options");
  Text option;
  if (options && options->size() > 0) {
    if (gold.size() != 1) throw Raised{"TypeError"};  // ord() of a longer text
    auto at = static_cast<std::int64_t>(gold[0]) - 'A';
    const auto n = static_cast<std::int64_t>(options->size());
    if (at < 0) at += n;  // a list of Python counts from its end
    if (at < 0 || at >= n) throw Raised{"IndexError"};
    option = text((*options)[static_cast<std::size_t>(at)].as_string());
  }
  const bool right = mathvision_equal(gold, answer, c.compat) || mathvision_equal(option, answer, c.compat);
  return Json::object({{"parsed", utf8(answer)}, {"score", right ? 1.0 : 0.0}});
}

Json metrics(const Lines& lines, Compat) {
  const Values values = scores(lines);
  Json metric = share_metric(values, 100);
  if (!values.empty()) metric.set("value", python::round(sum(values) / static_cast<double>(values.size()) * 100, 2));
  return Json::object({{"mathvision_standard_eval", std::move(metric)}});
}

}  // namespace

Text find_math_answer(View reply) {
  static const Regex boxed(U"oxed{(.*)}", Regex::dot_all);
  Text s = replace(lower(reply), U"{}", U"");
  if (const auto found = boxed.search(s)) s = *found->groups[1];
  const std::size_t close = s.find(U'}'), open = s.find(U'{');
  if (close != Text::npos && (open == Text::npos || close < open)) s = s.substr(0, close);
  s = last_part(last_part(s, U"="), U"\\approx");
  return strip_string(replaced(s, {{U" ", U""},
                                   {U"\\,", U""},
                                   {U"∞", U"\\infty"},
                                   {U"+\\infty", U"\\infty"},
                                   {U"\\\\", U"\\"},
                                   {U"\n", U""},
                                   {U"\\text", U""},
                                   {U"\\mbox", U""},
                                   {U"bmatrix", U"pmatrix"},
                                   {U"\\left", U""},
                                   {U"\\right", U""},
                                   {U"^{\\circ}", U""},
                                   {U"^\\circ", U""},
                                   {U"{m}^3", U""},
                                   {U"m^3", U""},
                                   {U"{units}", U""},
                                   {U"units", U""},
                                   {U"{km}", U""},
                                   {U"km", U""}}));
}

bool mathvision_equal(View gold, View answer, Compat compat) {
  Text g = lower(gold), a = lower(answer);
  if (replace(g, U" ", U"").empty() || replace(a, U" ", U"").empty()) return false;
  if (strip(g) == strip(a)) return true;
  g = eval_tuple(g, compat), a = eval_tuple(a, compat);
  if (g == a) return true;
  const auto x = evaluated(g, compat), y = evaluated(a, compat);
  return x && y && python::round(x->value, 2) == python::round(y->value, 2);
}

Rows mathvision_tasks() { return {{"mathvision", mathvision, metrics}}; }

Rows math_tasks() {
  Rows all;
  for (Rows rows : {mathvista_tasks(), mathvision_tasks(), reasoning_tasks()})
    all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

}  // namespace ov::public_tasks
