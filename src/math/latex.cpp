#include "math/reader.h"
#include "text/pattern.h"

namespace ov::math {

using K = Value::Kind;
using XK = Expr::Kind;

namespace {

bool is_collection(const Value& v) { return v.kind == K::region || v.kind == K::set || v.kind == K::tuple; }

// What may stand before = or \in and a set: x, x_1, x^2, \pi, (x, y).
bool names_a_set(const Value& v) {
  const auto name = [](const E& e) { return e->kind == XK::symbol || e->kind == XK::constant; };
  if (v.kind == K::expr) return name(v.expr) || (v.expr->kind == XK::power && name(v.expr->args[0]));
  if (v.kind == K::region) return v.region.size() == 1 && name(v.region[0].low) && name(v.region[0].high);
  return v.kind == K::tuple &&
         std::all_of(v.items.begin(), v.items.end(), [&](const Value& i) { return i.kind == K::expr && name(i.expr); });
}

}  // namespace

Value Reader::all() {
  static const Pattern thousands(R"(^\s*-?\d{1,3}(,\d{3})+(\.\d+)?\s*$)");
  if (thousands.search(text_)) {
    const std::string digits = ascii(replace(trim(text_), U",", U""));
    return of(decimal(digits[0] == '0' && digits.size() > 1 ? digits.substr(1) : digits));
  }
  const Value v = list({});
  if (!done()) throw Unreadable{};
  return v;
}

void Reader::blanks() {
  static const std::vector<Text> blank = {U"\\,", U"\\;", U"\\:", U"\\quad", U"\\qquad", U"~", U"\\ "};
  for (bool more = true; more;) {
    more = false;
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    for (const Text& b : blank)
      if (text_.substr(at_, b.size()) == b && (b.size() < 3 || !letter(at_ + b.size()))) at_ += b.size(), more = true;
  }
}

// The next token is s: a command must end there.
bool Reader::next(View s) {
  blanks();
  if (text_.substr(at_, s.size()) != s) return false;
  return !(s.size() > 1 && s[0] == U'\\' && letter(at_ + 1) && letter(at_ + s.size()));
}

// Elements with , between them, groups of them with ; until one of `closers` (or the end).
std::vector<std::vector<Value>> Reader::groups() {
  std::vector<std::vector<Value>> out(1);
  for (;;) {
    if (any({U"\\pm"})) {
      const E e = expr(sum());
      out.back().push_back(of(negative(e))), out.back().push_back(of(e));
    } else {
      const Value v = relation();
      if (v.kind == K::expr && take(U"\\pm")) {
        const E e = expr(sum());
        out.back().push_back(of(node(XK::add, {v.expr, e})));
        out.back().push_back(of(node(XK::add, {v.expr, negative(e)})));
      } else out.back().push_back(v);
    }
    if (take(U",")) continue;
    if (!take(U";")) return out;
    out.emplace_back();
  }
}

// One element is itself, several are a set; of groups a set of tuples.
Value Reader::list(View closer) {
  const auto g = groups();
  if (!closer.empty()) expect(closer);
  if (g.size() == 1) return g[0].size() == 1 ? g[0][0] : set_of(g[0]);
  std::vector<Value> items;
  const bool single = std::all_of(g.begin(), g.end(), [](const auto& e) { return e.size() == 1; });
  for (const auto& e : g) items.push_back(single ? e[0] : tuple(e));
  return set_of(items);
}

Value Reader::relation() {
  static const std::vector<std::pair<View, std::string>> ops = {
      {U"\\leq", "<="}, {U"\\le", "<="}, {U"\\leqslant", "<="}, {U"≤", "<="},   {U"<=", "<="},
      {U"\\geq", ">="}, {U"\\ge", ">="}, {U"\\geqslant", ">="}, {U"≥", ">="},   {U">=", ">="},
      {U"\\neq", "!="}, {U"\\ne", "!="}, {U"≠", "!="},          {U"\\lt", "<"}, {U"<", "<"},
      {U"\\gt", ">"},   {U">", ">"},     {U"\\approx", "~"},    {U"≈", "~"},    {U"==", "="},
      {U"=", "="},      {U"\\in", "="}};
  const Nested nested(depth_);
  Value out;
  const bool signs = next(U"+");
  out.items.push_back(combined());
  for (bool more = true; more;) {
    more = false;
    for (const auto& [token, op] : ops)
      if (take(token)) {
        const Value right = combined();
        if (is_collection(right) && (op != "=" || signs || !names_a_set(out.items.back()))) throw Unreadable{};
        if (is_collection(out.items.back()) && !is_collection(right)) throw Unreadable{};
        if (op != "~") out.items.push_back(right), out.ops.push_back(op);
        // x \approx 3 is 3, 6 \approx 3 is 6.
        else if (out.items.back().kind == K::expr && has_symbols(out.items.back().expr)) out.items.back() = right;
        more = true;
        break;
      }
  }
  if (out.ops.empty()) return out.items[0];
  out.kind = K::relation;
  return out;
}

// Sets with \cup between them.
Value Reader::combined() {
  Value v = sum();
  for (; any({U"\\cup", U"∪"}); one_more()) v = united(v, sum());
  return v;
}

Value Reader::united(const Value& a, const Value& b) const {
  if (a.kind == K::set && b.kind == K::set) {
    Value v = a;
    v.items.insert(v.items.end(), b.items.begin(), b.items.end());
    return v;
  }
  Value out;
  out.kind = K::region;
  for (const Value* v : {&a, &b})
    if (v->kind == K::region) out.region.insert(out.region.end(), v->region.begin(), v->region.end());
    else if (v->kind == K::set)
      for (const Value& item : v->items) out.region.push_back({expr(item), expr(item), false, false});
    else throw Unreadable{};
  const auto place = [](const E& e) { return real_value(e).value_or(0); };
  std::stable_sort(out.region.begin(), out.region.end(),
                   [&](const Interval& x, const Interval& y) { return place(x.low) < place(y.low); });
  std::vector<Interval> joined;
  for (const Interval& i : out.region) {
    Interval* last = joined.empty() ? nullptr : &joined.back();
    const long double gap = last ? place(i.low) - place(last->high) : 1;
    if (!last || gap > 0 || (gap == 0 && i.low_open && last->high_open)) joined.push_back(i);
    else if (place(i.high) > place(last->high)) last->high = i.high, last->high_open = i.high_open;
    else if (place(i.high) == place(last->high)) last->high_open = last->high_open && i.high_open;
  }
  out.region = joined;
  return out;
}

Value Reader::sum() {
  const Nested nested(depth_);
  Value v = product(false);
  for (;;) {
    const bool plus = next(U"+") && take(U"+");
    if (!plus && !any({U"-", U"−"})) return v;
    one_more();
    const E r = expr(product(false));
    v = of(node(XK::add, {expr(v), plus ? r : negative(r)}));
  }
}

Value Reader::product(bool no_functions) {
  Value v = unary(no_functions);
  for (;; one_more()) {
    if (any({U"\\times", U"\\cdot", U"*", U"×", U"·"})) v = of(flat_product(expr(v), expr(unary(no_functions))));
    else if (any({U"\\div", U"/", U":", U"÷"})) v = of(quotient(expr(v), expr(unary(no_functions))));
    else if (any({U"\\mod", U"\\bmod"})) v = of(call("mod", {expr(v), expr(unary(no_functions))}));
    else return v;
  }
}

E Reader::flat_product(const E& a, const E& b) {
  std::vector<E> args;
  for (const E& e : {a, b})
    if (e->kind == XK::multiply) args.insert(args.end(), e->args.begin(), e->args.end());
    else args.push_back(e);
  return node(XK::multiply, args);
}

Value Reader::scaled(const E& factor, Value matrix) {
  for (Value& entry : matrix.items) entry = of(flat_product(factor, expr(entry)));
  return matrix;
}

Value Reader::unary(bool no_functions) {
  const Nested nested(depth_);
  if (take(U"+")) {
    const Value v = unary(no_functions);
    if (is_collection(v)) throw Unreadable{};
    return v;
  }
  if (any({U"-", U"−"})) {
    const Value v = unary(no_functions);
    return v.kind == K::matrix ? scaled(number(-1), v) : of(negative(expr(v)));
  }
  const Value first = postfix(no_functions);
  if (first.kind != K::expr) return first;
  std::vector<E> factors = {first.expr};
  Value matrix;  // the last factor
  for (; matrix.kind != K::matrix && starts_factor(no_functions); one_more()) {
    const Value v = postfix(no_functions);
    if (v.kind == K::matrix) matrix = v;
    else factors.push_back(expr(v));
  }
  E e = factors.back();
  for (std::size_t i = factors.size() - 1; i-- > 0;) {
    const E& l = factors[i];
    const bool mixed = l->kind == XK::number && l->number.q == 1 && e->kind == XK::number && e->number.p > 0;
    if (mixed) {  // 2 \frac{1}{2}
      const auto both = exact(node(XK::add, {l, l->number.p < 0 ? negative(e) : e}));
      if (!both) throw Unreadable{};  // beyond 128 bits
      e = number(both->p, both->q);
    } else e = flat_product(l, e);
  }
  return matrix.kind == K::matrix ? scaled(e, matrix) : of(e);
}

bool Reader::starts_factor(bool no_functions) {
  if (done()) return false;
  const char32_t c = text_[at_];
  if (letter(at_) || is_digit(c) || c == U'(' || c == U'{' || c == U'π' || c == U'[') return c != U'[';
  if (c == U'.') return at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
  if (c == U'|') return bars_ == 0;
  if (c != U'\\') return false;
  for (const View stop :
       {U"\\cup",      U"\\cap",      U"\\le",  U"\\leq",    U"\\ge",     U"\\geq",   U"\\lt",       U"\\gt",
        U"\\ne",       U"\\neq",      U"\\in",  U"\\approx", U"\\times",  U"\\cdot",  U"\\div",      U"\\pm",
        U"\\mod",      U"\\bmod",     U"\\end", U"\\}",      U"\\rfloor", U"\\rceil", U"\\\\",       U"\\rvert",
        U"\\leqslant", U"\\geqslant", U"\\%",   U"\\to",     U"\\rangle", U"\\circ",  U"\\setminus", U"\\)"})
    if (next(stop)) return false;
  return !(no_functions && functions().count(command()));
}

Text Reader::command() const {  // the name after the backslash
  std::size_t end = at_ + 1;
  while (letter(end)) ++end;
  return Text(text_.substr(at_ + 1, end - at_ - 1));
}

Value Reader::postfix(bool no_functions) {
  Value v = power(no_functions);
  for (; take(U"!"); one_more()) {
    v = of(call("factorial", {expr(v)}));
    degree();
  }
  return v;
}

bool Reader::degree() {  // ^\circ and ^{\circ} are not counted
  const auto start = at_;
  if (take(U"^") &&
      (take(U"\\circ") || take(U"\\degree") || (take(U"{") && (take(U"\\circ") || take(U"\\degree")) && take(U"}"))))
    return true;
  at_ = start;
  return false;
}

E Reader::exponent() {
  if (take(U"{")) {
    const E e = expr(sum());
    expect(U"}");
    return e;
  }
  return expr(atom(false));
}

Value Reader::power(bool no_functions) {
  Value v = atom(no_functions);
  if (is_collection(v) || degree() || v.kind != K::expr) return v;
  for (; !degree() && take(U"^"); one_more()) {
    const E x = exponent();
    // e^x is exp(x): nothing that a number can be made of by text alone.
    v = of(v.expr->kind == XK::constant && v.expr->name == "e" ? call("exp", {x}) : node(XK::power, {v.expr, x}));
  }
  return v;
}

E Reader::braced() {
  expect(U"{");
  const E e = expr(sum());
  expect(U"}");
  return e;
}

Value read_latex(View normal) { return Reader(normal).all(); }

}  // namespace ov::math
