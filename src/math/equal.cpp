#include "math/equal.h"

#include <algorithm>
#include <cmath>

namespace ov::math {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
std::string trim(std::string_view s) {
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return std::string(s);
}

struct Span {
  std::size_t begin = 0, end = 0;  // of what is compared for being last
  std::string text;
};

// The contents of the braces that open at s[at].
std::optional<Span> braces(std::string_view s, std::size_t at) {
  int deep = 0;
  for (std::size_t i = at; i < s.size(); ++i) {
    deep += s[i] == '{' ? 1 : s[i] == '}' ? -1 : 0;
    if (deep == 0) return Span{at, i + 1, std::string(s.substr(at + 1, i - at - 1))};
  }
  return {};
}

void later(std::optional<Span>& best, Span found) {
  if (!best || found.end > best->end || (found.end == best->end && found.begin < best->begin)) best = std::move(found);
}

// A percent sign or word behind a number or formula belongs to it.
Span with_percent(std::string_view s, Span span) {
  std::size_t i = span.end;
  while (i < s.size() && blank(s[i])) ++i;
  for (const std::string_view word : {"\\%", "%", "percentage", "percent", "Percentage", "Percent", "pct"})
    if (s.substr(i, word.size()) == word) {
      span.end = i + word.size();
      span.text += "\\%";
      break;
    }
  return span;
}

void find_formulas(std::string_view s, std::optional<Span>& best) {
  static const std::pair<std::string_view, std::string_view> pairs[] = {
      {"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}};
  for (const auto& [open, close] : pairs)
    for (std::size_t at = s.find(open); at != s.npos;) {
      const std::size_t begin = at + open.size(), end = s.find(close, begin);
      if (end == s.npos) break;
      if (end > begin)
        later(best, with_percent(s, {at, end + close.size(), std::string(s.substr(begin, end - begin))}));
      at = s.find(open, end + close.size());
    }
  for (std::size_t at = s.find("\\frac{"); at != s.npos; at = s.find("\\frac{", at + 1)) {
    const auto over = braces(s, at + 5);
    const auto under = over && over->end < s.size() && s[over->end] == '{' ? braces(s, over->end) : std::nullopt;
    const auto number = [](const std::string& t) {
      return !t.empty() && t.find_first_not_of("-0123456789.,") == t.npos && digit(t.back());
    };
    if (!under || !number(over->text) || !number(under->text)) continue;
    const std::size_t begin = at > 0 && s[at - 1] == '-' ? at - 1 : at;
    later(best, with_percent(s, {begin, under->end, std::string(s.substr(begin, under->end - begin))}));
  }
}

// Numbers and sums of numbers that begin a word, or follow "=".
void find_numbers(std::string_view s, std::optional<Span>& best) {
  constexpr std::string_view signs = "+-*/^()", money[] = {"$", "\u20ac", "\u00a3", "\u00a5"};
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (i > 0 && !blank(s[i - 1]) && s[i - 1] != '=') continue;
    std::size_t begin = i;
    for (const auto sign : money)
      if (s.substr(begin, sign.size()) == sign) begin += sign.size();
    std::size_t end = begin;
    if (end < s.size() && s[end] == '-') ++end;
    const std::size_t first = end;
    while (end < s.size() && digit(s[end])) ++end;
    if (end > first && end - first <= 3)
      while (end + 3 < s.size() && s[end] == ',' && digit(s[end + 1]) && digit(s[end + 2]) && digit(s[end + 3]) &&
             !(end + 4 < s.size() && digit(s[end + 4])))
        end += 4;
    if (end + 1 < s.size() && s[end] == '.' && digit(s[end + 1]))
      for (++end; end < s.size() && digit(s[end]);) ++end;
    if (end > first) later(best, with_percent(s, {i, end, std::string(s.substr(begin, end - begin))}));
    // An expression: it ends where a mark, a blank or the text ends.
    std::size_t stop = i;
    while (stop < s.size() && (digit(s[stop]) || s[stop] == '.' || blank(s[stop]) || signs.find(s[stop]) != signs.npos))
      ++stop;
    const std::string text = trim(s.substr(i, stop - i));
    const bool ends =
        stop == s.size() || s[stop] == ',' || s[stop] == ':' || s[stop] == '$' || (stop > i && blank(s[stop - 1]));
    const bool has_sign = text.find_first_of("+*/^", 1) != text.npos || text.find('-', 1) != text.npos;
    if (ends && has_sign && !text.empty() && text.find_first_of("0123456789") <= 2) {
      std::string bare = text;
      while (!bare.empty() && bare.back() == '.') bare.pop_back();
      if (parse_expression(bare)) later(best, {i, stop, bare});
    }
  }
}

double rounded(double v) { return std::nearbyint(v * 1e6) / 1e6; }

bool same_number(const Expression& a, const Expression& b) {
  if (a.number == b.number) return true;
  const auto x = a.number.value(), y = b.number.value();
  if ((a.decimal || b.decimal) && x && y) return rounded(*x) == rounded(*y);
  if (a.percent != b.percent) {  // 9% beside a whole number: the sign is no part of the value
    const Exact whole_a = a.percent ? a.number * Exact(100) : a.number,
                whole_b = b.percent ? b.number * Exact(100) : b.number;
    const auto p = whole_a.rational(), q = whole_b.rational();
    return p && q && p->under == 1 && q->under == 1 && *p == *q;
  }
  return false;
}

}  // namespace

std::string expression_text(std::string_view text, Level level) {
  if (const std::size_t boxed = text.rfind("\\boxed{"); boxed != text.npos)
    if (const auto inside = braces(text, boxed + 6)) return trim(inside->text);
  if (level == Level::whole) return trim(text);
  std::optional<Span> best;
  find_formulas(text, best);
  find_numbers(text, best);
  return best ? trim(best->text) : "";
}

bool same(const Expression& gold, const Expression& answer) {
  if (gold.equation && answer.equation && gold.assignment != answer.assignment) return false;
  if (gold.equation && !gold.assignment && !answer.equation) return false;
  if (gold.kind != answer.kind) return false;
  if (gold.kind == Expression::Kind::number) return same_number(gold, answer);
  if (gold.items.size() != answer.items.size() || gold.open != answer.open || gold.close != answer.close) return false;
  if (gold.kind == Expression::Kind::row)
    return std::equal(gold.items.begin(), gold.items.end(), answer.items.begin(), same);
  std::vector<Expression> left = answer.items;  // a set: each of the gold has one of its own
  for (const Expression& g : gold.items) {
    const auto at = std::find_if(left.begin(), left.end(), [&](const Expression& e) { return same(g, e); });
    if (at == left.end()) return false;
    left.erase(at);
  }
  return true;
}

Verdict compare(std::string_view gold, std::string_view answer, Level level) {
  const std::string g = expression_text(gold, level), a = expression_text(answer, level);
  if (g.empty() || a.empty()) return level == Level::last ? Verdict::different : Verdict::unknown;
  if (g == a) return Verdict::equal;
  const auto left = parse_expression(g), right = parse_expression(a);
  if (!left || !right) return Verdict::unknown;
  return same(*left, *right) ? Verdict::equal : Verdict::different;
}

}  // namespace ov::math
