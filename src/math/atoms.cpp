// Numbers, letters, brackets, commands.
#include "math/reader.h"
#include "text/pattern.h"

namespace ov::math {

using K = Value::Kind;
using XK = Expr::Kind;

const std::map<Text, std::string>& functions() {
  static const std::map<Text, std::string> table = [] {
    std::map<Text, std::string> t;
    for (const char* same : {"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp", "log", "ln",
                             "max", "min", "gcd", "lcm", "floor", "ceil", "det"})
      t[python::text(same)] = same;
    for (const char* arc : {"sin", "cos", "tan", "sinh", "cosh", "tanh"})
      t[python::text("arc" + std::string(arc))] = "a" + std::string(arc);
    return t;
  }();
  return table;
}

Value Reader::number_token() {
  const auto start = at_;
  while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  if (at_ + 1 < text_.size() && text_[at_] == U'.' && is_digit(text_[at_ + 1]))
    for (++at_; at_ < text_.size() && is_digit(text_[at_]);) ++at_;
  std::string digits = ascii(text_.substr(start, at_ - start));
  static const Pattern scientific(R"(^E[-+]?\d+)");
  if (at_ < text_.size() && text_[at_] == U'E')  // asked here: a search would try every later place
    if (const auto m = scientific.search(text_.substr(at_))) {
      if (digits.find('.') == digits.npos) digits += ".0";
      digits += ascii(*m->groups[0]), at_ += m->end;
    }
  const E e = decimal(digits);
  const bool percent = any({U"\\%", U"%"});
  return of(percent ? node(XK::multiply, {e, number(1, 100)}) : e);
}

std::string Reader::subscript() {  // the text of _x or _{..}
  if (!take(U"_")) return "";
  blanks();
  if (at_ >= text_.size()) throw Unreadable{};
  if (text_[at_] != U'{') {
    if (!letter(at_) && !is_digit(text_[at_])) throw Unreadable{};
    return "_" + utf8(text_.substr(at_++, 1));
  }
  const auto end = text_.find(U'}', at_);
  if (end == text_.npos) throw Unreadable{};
  std::string inside = utf8(replace(text_.substr(at_ + 1, end - at_ - 1), U" ", U""));
  at_ = end + 1;
  return inside.size() > 1 ? "_{" + inside + "}" : "_" + inside;
}

Value Reader::atom(bool no_functions) {
  const Nested nested(depth_);
  if (done()) throw Unreadable{};
  const char32_t c = text_[at_];
  if (is_digit(c) || (c == U'.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) return number_token();
  if (c == U'π') return ++at_, of(constant("pi"));
  if (c == U'(' || c == U'[' || next(U"\\(")) return bracket();
  if (c == U'{' || next(U"\\{") || next(U"\\lbrace")) return braces();
  if (take(U"|") || take(U"\\lvert") || take(U"\\vert")) {
    ++bars_;
    const E e = expr(sum());
    --bars_;
    if (!any({U"|", U"\\rvert", U"\\vert"})) throw Unreadable{};
    return of(call("abs", {e}));
  }
  if (letter(at_)) {
    ++at_;
    if (c == U'e' && !next(U"_")) return of(constant("e"));
    if (c == U'I' && !next(U"_")) return of(constant("i"));
    const E e = named(Text(1, c));
    return at_ < text_.size() && text_[at_] == U'(' ? of(call("of " + e->name, arguments())) : of(e);
  }
  if (c == U'\\') return of_command(no_functions);
  throw Unreadable{};
}

std::vector<E> Reader::arguments() {
  std::vector<E> args;
  expect(U"(");
  do args.push_back(expr(sum()));
  while (take(U","));
  expect(U")");
  return args;
}

// (x), (a, b) as an open interval where a < b, else a tuple; [a, b), [x].
Value Reader::bracket() {
  const bool low_open = any({U"(", U"\\("});
  if (!low_open) expect(U"[");
  const auto g = groups();
  const bool high_open = any({U")", U"\\)"});
  if (!high_open) expect(U"]");
  if (g.size() == 1 && g[0].size() == 1) {
    if (low_open != high_open) throw Unreadable{};
    return g[0][0];
  }
  if (g.size() == 1 && g[0].size() == 2 && g[0][0].kind == K::expr && g[0][1].kind == K::expr)
    return interval(g[0][0].expr, g[0][1].expr, low_open, high_open);
  if (low_open != high_open) throw Unreadable{};
  std::vector<Value> items;
  for (const auto& e : g) items.insert(items.end(), e.begin(), e.end());
  return tuple(items);
}

Value Reader::interval(const E& low, const E& high, bool low_open, bool high_open) {
  const auto a = real_value(low), b = real_value(high);
  const bool both = low_open == high_open;
  if (a && b && both && (low_open ? *b <= *a : *b < *a)) return tuple({of(low), of(high)});
  Value v;
  v.kind = K::region;
  if (a && b && *a == *b && both) return set_of({of(low)});
  if (a && b && *b <= *a) return v;  // half open and empty
  const bool lowest = a && std::isinf(*a), highest = b && std::isinf(*b);
  v.region.push_back({low, high, low_open || lowest, high_open || highest});
  return v;
}

Value Reader::braces() {
  const auto start = at_;
  const bool plain = take(U"{");
  if (!plain) any({U"\\{", U"\\lbrace"});
  const auto close = [&] { return plain ? take(U"}") : any({U"\\}", U"\\rbrace"}); };
  Value v;
  v.kind = K::region;
  if (close()) return v;
  const auto g = groups();
  if (!close()) throw Unreadable{};
  std::vector<Value> items;
  for (const auto& e : g) items.insert(items.end(), e.begin(), e.end());
  const bool whole = start == 0 && done();
  return plain && items.size() == 1 && !whole ? items[0] : set_of(items);
}

Value Reader::of_command(bool no_functions) {
  if (next(U"\\}")) throw Unreadable{};
  const Text name = command();
  if (name.empty()) throw Unreadable{};
  at_ += 1 + name.size();
  static const std::vector<Text> refused = {U"to",        U"end",        U"left",       U"right", U"rfloor",
                                            U"rceil",     U"int",        U"sum",        U"lim",   U"prod",
                                            U"partial",   U"circ",       U"degree",     U"cap",   U"setminus",
                                            U"underline", U"rightarrow", U"Rightarrow", U"boxed", U"mathbf"};
  if (std::find(refused.begin(), refused.end(), name) != refused.end()) throw Unreadable{};
  if (name == U"frac") {
    const E a = braced(), b = braced();
    return of(quotient(a, b));
  }
  if (name == U"binom") {
    const E a = braced();
    return of(call("binomial", {a, braced()}));
  }
  if (name == U"sqrt") {
    E root = number(2);
    if (take(U"[")) {
      root = expr(sum());
      expect(U"]");
    }
    const E inside = braced();
    return of(node(XK::power, {inside, quotient(number(1), root)}));
  }
  if (name == U"pi") return of(constant("pi"));
  if (name == U"infty") return of(constant("oo"));
  if (name == U"emptyset") {
    Value v;
    v.kind = K::region;
    return v;
  }
  if (name == U"mathbb") {
    if (!take(U"{R}")) throw Unreadable{};
    return interval(negative(constant("oo")), constant("oo"), true, true);
  }
  if (name == U"lfloor" || name == U"lceil") {
    const E e = expr(sum());
    expect(name == U"lfloor" ? U"\\rfloor" : U"\\rceil");
    return of(call(name == U"lfloor" ? "floor" : "ceil", {e}));
  }
  if (name == U"text" || name == U"mbox" || name == U"overline" || name == U"bar" || name == U"vec" ||
      name == U"overrightarrow" || name == U"hat" || name == U"tilde" || name == U"widehat" || name == U"mathcal")
    return accented(name);
  if (name == U"operatorname") {
    expect(U"{");
    const auto end = text_.find(U'}', at_);
    if (end == text_.npos) throw Unreadable{};
    const Text inside(trim(text_.substr(at_, end - at_)));
    at_ = end + 1;
    const auto it = functions().find(inside);
    return function(it == functions().end() ? utf8(inside) : it->second);
  }
  if (name == U"begin") return matrix();
  if (const auto it = functions().find(name); it != functions().end()) {
    if (no_functions) throw Unreadable{};
    return function(it->second);
  }
  return of(named(name));
}

Value Reader::accented(const Text& name) {
  expect(U"{");
  const auto end = text_.find(U'}', at_);
  if (end == text_.npos) throw Unreadable{};
  Text inside = replace(text_.substr(at_, end - at_), U" ", U"");
  at_ = end + 1;
  if (name == U"text" || name == U"mbox") return of(named(replace(replace(inside, U"(", U""), U")", U"")));
  const Text accent = name == U"overline" ? U"bar" : name == U"overrightarrow" ? U"vec" : name;
  return of(named(accent + U"{" + inside + U"}"));
}

Value Reader::function(const std::string& name) {
  E base = name == "ln" ? constant("e") : number(10), power;
  const bool log = name == "log" || name == "ln";
  for (int i = 0; i < 2; ++i)
    if (log && take(U"_")) base = exponent();
    else if (!power && !degree() && take(U"^")) power = exponent();
  std::vector<E> args;
  if (next(U"(")) args = arguments();
  else args.push_back(expr(product(true)));
  std::string f = log ? "log" : name;
  if (log) args.push_back(base);
  if (power && exact(power) && exact(power)->p == -1 && exact(power)->q == 1 &&
      (f == "sin" || f == "cos" || f == "tan"))
    f = "a" + f, power = nullptr;
  const E e = call(f, args);
  return of(power ? node(XK::power, {e, power}) : e);
}

Value Reader::matrix() {
  static const Pattern kind(R"(^({[bp]?matrix}|{array})(?:\s*{[clr|\s]*})?)");
  const auto m = kind.search(text_.substr(at_));
  if (!m) throw Unreadable{};
  at_ += m->end;
  Value v;
  v.kind = K::matrix;
  for (v.rows = 1;; ++v.rows) {
    do v.items.push_back(of(expr(sum())));
    while (take(U"&"));
    if (!take(U"\\\\") || next(U"\\end")) break;
  }
  expect(Text(U"\\end") + Text(*m->groups[1]));
  return v;
}

}  // namespace ov::math
