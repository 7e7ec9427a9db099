// math-expressions: is the answer the same piece of mathematics? Two ways to say yes, and the level that did:
//
//   text       both are the same text, but for case and blanks around it
//   number     math_verify's way, both are read as numbers      (six decimals where one has a point)
//   symbolic   math_verify's way, for everything else it reads: letters, expressions, equations, sets, matrices
//   rounded    the whole of both, read as LaTeX, are the same number or tuple of numbers at two decimals
//
// Traps of the original are kept: a text that begins with a lone letter is that letter, and outside $ only the first
// number counts.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "math/python_value.h"
#include "math/read.h"
#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {
namespace {

// round(x, 2), and str() of it.
double two_decimals(const math::PythonNumber& v) {
  if (v.whole) return static_cast<double>(v.n);
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.2f", v.x);
  return std::strtod(buffer, nullptr);
}
bool same_rounded(const math::PythonNumber& a, const math::PythonNumber& b) {
  return a.whole && b.whole ? a.n == b.n : two_decimals(a) == two_decimals(b);
}
std::string shown_rounded(const math::PythonNumber& v) {
  return v.whole && v.n < (__int128{1} << 62) && v.n > -(__int128{1} << 62)
             ? Json(static_cast<std::int64_t>(v.n)).dump()
             : Json(two_decimals(v)).dump();
}

// (2*3, 5+2) becomes (6,7); what is no such thing stays.
Text rounded_tuple(const Text& s) {
  const auto parts = fields(View(s).substr(s.empty() ? 0 : 1, s.size() < 2 ? 0 : s.size() - 2), U',');
  const bool round = s.front() == U'(' && s.back() == U')', square = s.front() == U'[' && s.back() == U']';
  if (parts.size() < 2 || (!round && !square)) return s;
  try {
    std::string out(1, round ? '(' : '[');
    for (const View part : parts) {
      if (out.size() > 1) out += ',';
      out += has(part, U"infty") || part == U"a" || part == U"-a" ? python::utf8(part)
                                                                  : shown_rounded(math::python_value(part));
    }
    return python::text(out + (round ? ')' : ']'));
  } catch (const math::Unreadable&) { return s; }
}

std::string level_of_texts(const Text& gold, const Text& answer) {
  const Text g = lower(gold), a = lower(answer);
  if (replace(g, U" ", U"").empty() || replace(a, U" ", U"").empty()) return "";
  if (trim(g) == trim(a)) return "text";
  const Text gt = rounded_tuple(g), at = rounded_tuple(a);
  if (gt == at) return "rounded";
  try {
    return same_rounded(math::python_value(gt), math::python_value(at)) ? "rounded" : "";
  } catch (const math::Unreadable&) { return ""; }
}

bool is_number(const math::Reading& r) {
  return r.value && r.value->kind == math::Value::Kind::expr && !math::has_symbols(r.value->expr);
}

math::Reading reading(const Text& text) {
  try {
    return math::read(text);
  } catch (const PatternTookTooLong&) { return {}; }  // the original gives up after five seconds
}

}  // namespace

Verdict verify_math(const Text& completion, const Gold& gold) {
  static const Pattern lettered(R"(^\s*\([a-zA-Z]\)\s*)");
  const Text& g = gold.one();
  Text s = last_answer(trim(completion)).value_or(U"");
  if (lettered.search(s)) s = Text(trim(View(s).substr(1, s.size() - 2)));
  Verdict v{.extracted = s};
  const math::Reading a = reading(s), b = reading(g);
  std::string level = level_of_texts(g, s);
  const bool library = math::equal(a, b);
  if (level != "text" && library) level = is_number(a) && is_number(b) ? "number" : "symbolic";
  v.parts.set("level", level.empty() ? "none" : level);
  v.parts.set("library", library);
  v.reward = level.empty() ? 0 : 1;
  return v;
}

// No letter trap, and nothing left unread: the same text, or both read as a whole, by themselves or in their $ or box.
Verdict verify_math_strict(const Text& completion, const Gold& gold) {
  const auto whole_value = [](View text) -> std::optional<math::Value> {
    View t = trim(text);
    for (const auto& [open, close] : {std::pair{U"$$", U"$$"}, {U"$", U"$"}, {U"\\(", U"\\)"}, {U"\\[", U"\\]"}}) {
      const View o = open, c = close;
      if (t.size() < o.size() + c.size() || t.substr(0, o.size()) != o || t.substr(t.size() - c.size()) != c) continue;
      t = t.substr(o.size(), t.size() - o.size() - c.size());
      break;
    }
    try {
      return math::read_latex(math::normal_latex(t, {.repairs = true, .last_box = true}));
    } catch (const math::Unreadable&) { return std::nullopt; }
  };
  const Text& g = gold.one();
  Verdict v{.extracted = last_answer(completion).value_or(U"")};
  const auto a = whole_value(v.extracted), b = whole_value(g);
  const bool text = !trim(v.extracted).empty() && lower(trim(v.extracted)) == lower(trim(g));
  const bool value = a && b && math::equal(*a, *b);
  v.parts.set("level", text ? "text" : value ? "symbolic" : "none");
  v.reward = text || value;
  return v;
}

}  // namespace ov::rl
