#include "math/expression.h"

#include <algorithm>
#include <utility>

namespace ov::math {
namespace {

struct Fault {};

bool digit(char c) { return c >= '0' && c <= '9'; }
bool alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// One spelling for what has several.
std::string normal(std::string_view text) {
  static const std::pair<std::string_view, std::string_view> same[] = {{"\\left", ""},
                                                                       {"\\right", ""},
                                                                       {"\\dfrac", "\\frac"},
                                                                       {"\\tfrac", "\\frac"},
                                                                       {"\\cfrac", "\\frac"},
                                                                       {"\\!", ""},
                                                                       {"\\,", " "},
                                                                       {"\\;", " "},
                                                                       {"\\:", " "},
                                                                       {"\\ ", " "},
                                                                       {"{,}", ","},
                                                                       {"\\times", "*"},
                                                                       {"\\cdot", "*"},
                                                                       {"\\div", "/"},
                                                                       {"\\%", "%"},
                                                                       {"\\$", ""},
                                                                       {"$", ""},
                                                                       {"^{\\circ}", ""},
                                                                       {"^\\circ", ""},
                                                                       {"\\circ", ""},
                                                                       {"\u00b0", ""},
                                                                       {"\u00d7", "*"},
                                                                       {"\u00f7", "/"},
                                                                       {"\u00b7", "*"},
                                                                       {"\u2212", "-"},
                                                                       {"\u03c0", "\\pi "},
                                                                       {"\u221a", "\\sqrt "},
                                                                       {"\u221e", "\\infty "},
                                                                       {"\\{", "<"},
                                                                       {"\\}", ">"},
                                                                       {"**", "^"},
                                                                       {"\u00a0", " "}};
  std::string s(text);
  for (const auto& [from, to] : same)
    for (std::size_t at = s.find(from); at != s.npos; at = s.find(from, at + to.size())) s.replace(at, from.size(), to);
  return s;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : s_(text) {}

  Expression whole() {
    Expression e = sides();
    if (blanks(); at_ != s_.size()) throw Fault();
    return e;
  }

 private:
  static constexpr int deepest = 100;

  void blanks() {
    while (at_ < s_.size() && (s_[at_] == ' ' || s_[at_] == '\t' || s_[at_] == '\n')) ++at_;
  }
  char peek() {
    blanks();
    return at_ < s_.size() ? s_[at_] : 0;
  }
  bool take(std::string_view word) {
    blanks();
    if (s_.substr(at_, word.size()) != word) return false;
    if (word.size() > 1 && word[0] == '\\' && at_ + word.size() < s_.size() && alpha(s_[at_ + word.size()]))
      return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) throw Fault();
  }

  Expression sides() {
    const std::size_t begin = at_;
    Expression e = list();
    const auto lone = [&] {
      std::string left(s_.substr(begin, at_ - begin));
      std::erase(left, ' ');
      return (left.size() == 1 && alpha(left[0])) || (left.size() > 1 && left[0] == '\\');
    };
    if (peek() != '=') return e;
    const bool assignment = lone();
    while (take("=")) e = list();
    e.equation = true, e.assignment = assignment;
    return e;
  }

  Expression list() {  // 1, 2 and 3 is the set of them
    std::vector<Expression> items = {sum()};
    while (take(",") || take("and") || take("or")) items.push_back(sum());
    if (items.size() == 1) return items[0];
    Expression set;
    set.kind = Expression::Kind::set;
    set.items = std::move(items);
    return set;
  }

  void combine(Expression& a, const Expression& b, char op) {
    if (a.kind != Expression::Kind::number || b.kind != Expression::Kind::number) throw Fault();
    a.number = op == '+'   ? a.number + b.number
               : op == '-' ? a.number - b.number
               : op == '*' ? a.number * b.number
                           : a.number / b.number;
    a.named |= b.named, a.divided |= b.divided || op == '/';
    a.decimal = a.percent = false;
  }

  Expression sum() {
    if (++depth_ > deepest) throw Fault();
    Expression e = product();
    for (char c = peek(); c == '+' || c == '-'; c = peek()) {
      ++at_;
      combine(e, product(), c);
    }
    --depth_;
    return e;
  }

  bool begins_factor() {
    const char c = peek();
    if (c == '\\') return s_.substr(at_, 5) == "\\frac" || s_.substr(at_, 5) == "\\sqrt" || s_.substr(at_, 3) == "\\pi";
    if (s_.substr(at_, 3) == "and" || s_.substr(at_, 2) == "or") return false;
    return c == '(' || c == '{' || alpha(c);
  }

  Expression product() {
    Expression e = signed_factor();
    for (;;) {
      const char c = peek();
      if (c == '*' || c == '/') {
        ++at_;
        combine(e, signed_factor(), c);
      } else if (begins_factor()) {
        const bool mixed = whole_number_ && s_.substr(at_, 5) == "\\frac";  // 1\frac{1}{2} is 3/2
        combine(e, powered(), mixed ? '+' : '*');
      } else return e;
    }
  }

  Expression signed_factor() {
    if (take("+")) return signed_factor();
    if (!take("-")) return powered();
    if (++depth_ > deepest) throw Fault();
    Expression e = signed_factor();
    --depth_;
    if (e.kind != Expression::Kind::number) throw Fault();
    e.number = Exact(-1) * e.number;
    return e;
  }

  Expression powered() {
    Expression e = factor();
    if (take("^")) {
      if (e.kind != Expression::Kind::number) throw Fault();
      whole_number_ = false;
      const Expression exponent = peek() == '-' ? signed_factor() : digit(peek()) ? one_digit() : factor();
      if (exponent.kind != Expression::Kind::number) throw Fault();
      e.number = e.number.power(exponent.number);
      e.named |= exponent.named, e.decimal = e.percent = false;
      if (const auto r = exponent.number.rational(); !r || r->over < 0 || r->under != 1) e.divided = true;
    }
    if (take("%")) {
      if (e.kind != Expression::Kind::number) throw Fault();
      e.number = e.number / Exact(100);
      e.percent = e.divided = true;
    }
    return e;
  }

  Expression one_digit() {  // LaTeX: 10^23 is 10^2 3; a plain 2^10 means ten
    Expression e;
    e.number = Exact::decimal(digits());
    return e;
  }

  std::string digits() {
    std::string out;
    while (at_ < s_.size() && digit(s_[at_])) out += s_[at_++];
    return out;
  }

  Expression read_number() {
    Expression e;
    std::string text = digits();
    while (!text.empty() && text.size() <= 3 + 4 * groups_ && at_ + 3 < s_.size() && s_[at_] == ',' &&
           digit(s_[at_ + 1]) && digit(s_[at_ + 2]) && digit(s_[at_ + 3]) &&
           !(at_ + 4 < s_.size() && digit(s_[at_ + 4]))) {
      text += s_.substr(at_ + 1, 3);
      at_ += 4, ++groups_;
    }
    groups_ = 0;
    if (at_ < s_.size() && s_[at_] == '.') {
      ++at_;
      const std::string behind = digits();
      if (text.empty() && behind.empty()) throw Fault();
      text += "." + behind;
      e.decimal = true;
    }
    if (text.empty()) throw Fault();
    e.number = Exact::decimal(text);
    whole_number_ = !e.decimal;
    if (const auto r = e.number.rational(); r && r->under != 1) e.divided = true;
    return e;
  }

  // What \frac and \sqrt take: {...}, or the next character.
  Expression argument() {
    if (take("{")) {
      Expression e = sum();
      expect("}");
      return e;
    }
    if (!digit(peek())) return factor();
    Expression e;
    e.number = Exact(s_[at_++] - '0');
    return e;
  }

  Expression factor() {
    if (++depth_ > deepest) throw Fault();
    Expression e = inner();
    --depth_;
    return e;
  }

  Expression inner() {
    const char c = peek();
    whole_number_ = false;
    if (digit(c) || c == '.') return read_number();
    if (take("\\frac")) {
      Expression e = argument();
      combine(e, argument(), '/');
      return e;
    }
    if (take("\\sqrt") || take("sqrt")) {
      if (take("[")) {
        const Expression index = sum();
        expect("]");
        if (index.number != Exact(2)) throw Exact::Unknown();
      }
      Expression e = argument();
      if (e.kind != Expression::Kind::number) throw Fault();
      e.number = e.number.root();
      e.named = true, e.decimal = e.percent = false;
      return e;
    }
    for (const auto& [spelling, name] : {std::pair("\\pi", "pi"), std::pair("pi", "pi"), std::pair("\\infty", "infty"),
                                         std::pair("infinity", "infty"), std::pair("oo", "infty")})
      if (take(spelling)) return named(name);
    if (c == '<') return bracketed('<', '>', Expression::Kind::set);
    if (c == '{') {
      ++at_;
      Expression e = sum();
      expect("}");
      return e;
    }
    if (c == '(' || c == '[') return bracketed(c, 0, Expression::Kind::row);
    if (alpha(c)) {
      ++at_;
      return named(std::string(1, c));
    }
    throw Fault();
  }

  Expression named(const std::string& name) {
    Expression e;
    e.number = Exact::letter(name);
    e.named = true;
    return e;
  }

  Expression bracketed(char open, char close, Expression::Kind kind) {
    ++at_;
    std::vector<Expression> items;
    if (!(kind == Expression::Kind::set && peek() == '>')) {
      items.push_back(sum());
      while (take(",") || take(";")) items.push_back(sum());
    }
    const char end = peek();
    if (close ? end != close : end != ')' && end != ']') throw Fault();
    ++at_;
    if (kind == Expression::Kind::row && items.size() == 1 && open == '(' && end == ')') {
      items[0].decimal = items[0].percent = false;
      return items[0];
    }
    Expression e;
    e.kind = kind, e.items = std::move(items), e.open = open, e.close = end;
    return e;
  }

  std::string_view s_;
  std::size_t at_ = 0, groups_ = 0;
  int depth_ = 0;
  bool whole_number_ = false;  // the last factor was a whole number
};

}  // namespace

std::optional<Expression> parse_expression(std::string_view text) {
  try {
    return Parser(normal(text)).whole();
  } catch (const Fault&) { return {}; } catch (const Exact::Unknown&) {
    return {};
  }
}

}  // namespace ov::math
