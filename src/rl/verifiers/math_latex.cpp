// The reader of LaTeX, by recursive descent: chains of relations of sums of products of powers; sets, intervals, tuples,
// matrices; lists with , and ; between their elements.
#include "rl/verifiers/math_latex.h"

#include <algorithm>
#include <map>

#include "rl/verifiers/pattern.h"

namespace ov::rl::math {
namespace {

using K = Value::Kind;
using XK = Expr::Kind;

const std::map<Text, std::string>& functions() {
  static const std::map<Text, std::string> table = [] {
    std::map<Text, std::string> t;
    for (const char* same : {"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp", "log", "ln", "max", "min",
                             "gcd", "lcm", "floor", "ceil", "det"})
      t[decode(same)] = same;
    for (const char* arc : {"sin", "cos", "tan", "sinh", "cosh", "tanh"})
      t[decode("arc" + std::string(arc))] = "a" + std::string(arc);
    return t;
  }();
  return table;
}

class Reader {
 public:
  explicit Reader(TextView text) : text_(text) {}

  Value all() {
    static const Pattern thousands(R"(^\s*-?\d{1,3}(,\d{3})+(\.\d+)?\s*$)");
    if (thousands.search(text_)) {
      const std::string digits = ascii(replaced(strip(text_), U",", U""));
      return of(decimal(digits[0] == '0' && digits.size() > 1 ? digits.substr(1) : digits));
    }
    const Value v = list({});
    if (!done()) throw Unreadable{};
    return v;
  }

 private:
  TextView text_;
  std::size_t at_ = 0;
  int bars_ = 0, depth_ = 0;  // open |; nesting

  struct Nested {
    int& depth;
    explicit Nested(int& d) : depth(d) {
      if (++depth > 200) throw Unreadable{};
    }
    ~Nested() { --depth; }
  };

  void blanks() {
    static const std::vector<Text> blank = {U"\\,", U"\\;", U"\\:", U"\\quad", U"\\qquad", U"~", U"\\ "};
    for (bool more = true; more;) {
      more = false;
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
      for (const Text& b : blank)
        if (text_.substr(at_, b.size()) == b && (b.size() < 3 || !letter(at_ + b.size()))) at_ += b.size(), more = true;
    }
  }
  bool letter(std::size_t i) const {
    return i < text_.size() && ((text_[i] >= U'a' && text_[i] <= U'z') || (text_[i] >= U'A' && text_[i] <= U'Z'));
  }
  bool done() { return blanks(), at_ >= text_.size(); }
  // The next token is s: a command must end there.
  bool next(TextView s) {
    blanks();
    if (text_.substr(at_, s.size()) != s) return false;
    return !(s.size() > 1 && s[0] == U'\\' && letter(at_ + 1) && letter(at_ + s.size()));
  }
  bool take(TextView s) {
    if (!next(s)) return false;
    at_ += s.size();
    return true;
  }
  bool any(std::initializer_list<TextView> tokens) {
    return std::any_of(tokens.begin(), tokens.end(), [&](TextView t) { return take(t); });
  }
  void expect(TextView s) {
    if (!take(s)) throw Unreadable{};
  }
  const E& expr(const Value& v) const {
    if (v.kind != K::expr) throw Unreadable{};
    return v.expr;
  }

  // Elements with , between them, groups of them with ; until one of `closers` (or the end).
  std::vector<std::vector<Value>> groups() {
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

  static Value tuple(std::vector<Value> items) {
    Value v;
    v.kind = K::tuple, v.items = std::move(items);
    return v;
  }

  // One element is itself, several are a set; of groups a set of tuples.
  Value list(TextView closer) {
    const auto g = groups();
    if (!closer.empty()) expect(closer);
    if (g.size() == 1) return g[0].size() == 1 ? g[0][0] : set_of(g[0]);
    std::vector<Value> items;
    const bool single = std::all_of(g.begin(), g.end(), [](const auto& e) { return e.size() == 1; });
    for (const auto& e : g) items.push_back(single ? e[0] : tuple(e));
    return set_of(items);
  }

  Value relation() {
    static const std::vector<std::pair<TextView, std::string>> ops = {
        {U"\\leq", "<="}, {U"\\le", "<="}, {U"\\leqslant", "<="}, {U"≤", "<="}, {U"<=", "<="}, {U"\\geq", ">="},
        {U"\\ge", ">="}, {U"\\geqslant", ">="}, {U"≥", ">="}, {U">=", ">="}, {U"\\neq", "!="}, {U"\\ne", "!="},
        {U"≠", "!="}, {U"\\lt", "<"}, {U"<", "<"}, {U"\\gt", ">"}, {U">", ">"}, {U"\\approx", "~"}, {U"≈", "~"},
        {U"==", "="}, {U"=", "="}, {U"\\in", "="}};
    const Nested nested(depth_);
    Value out;
    out.items.push_back(combined());
    for (bool more = true; more;) {
      more = false;
      for (const auto& [token, op] : ops)
        if (take(token)) {
          const Value right = combined();
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
  Value combined() {
    Value v = sum();
    while (any({U"\\cup", U"∪"})) v = united(v, sum());
    return v;
  }

  Value united(const Value& a, const Value& b) const {
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
    std::stable_sort(out.region.begin(), out.region.end(), [&](const Interval& x, const Interval& y) {
      return place(x.low) < place(y.low);
    });
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

  Value sum() {
    const Nested nested(depth_);
    Value v = product(false);
    for (;;) {
      const bool plus = next(U"+") && take(U"+");
      if (!plus && !any({U"-", U"−"})) return v;
      const E r = expr(product(false));
      v = of(node(XK::add, {expr(v), plus ? r : negative(r)}));
    }
  }

  Value product(bool no_functions) {
    Value v = unary(no_functions);
    for (;;) {
      if (any({U"\\times", U"\\cdot", U"*", U"×", U"·"})) v = of(flat_product(expr(v), expr(unary(no_functions))));
      else if (any({U"\\div", U"/", U":", U"÷"})) v = of(quotient(expr(v), expr(unary(no_functions))));
      else if (any({U"\\mod", U"\\bmod"})) v = of(call("mod", {expr(v), expr(unary(no_functions))}));
      else return v;
    }
  }

  static E flat_product(const E& a, const E& b) {
    std::vector<E> args;
    for (const E& e : {a, b})
      if (e->kind == XK::multiply) args.insert(args.end(), e->args.begin(), e->args.end());
      else args.push_back(e);
    return node(XK::multiply, args);
  }

  Value unary(bool no_functions) {
    const Nested nested(depth_);
    if (take(U"+")) return unary(no_functions);
    if (any({U"-", U"−"})) return of(negative(expr(unary(no_functions))));
    const Value first = postfix(no_functions);
    if (first.kind != K::expr) return first;
    std::vector<E> factors = {first.expr};
    while (starts_factor(no_functions)) factors.push_back(expr(postfix(no_functions)));
    E e = factors.back();
    for (std::size_t i = factors.size() - 1; i-- > 0;) {
      const E& l = factors[i];
      const bool mixed = l->kind == XK::number && l->number.q == 1 && e->kind == XK::number && e->number.p > 0;
      if (mixed) {  // 2 \frac{1}{2}
        const __int128 p = l->number.p * e->number.q;
        e = number(l->number.p < 0 ? p - e->number.p : p + e->number.p, e->number.q);
      } else e = flat_product(l, e);
    }
    return of(e);
  }

  bool starts_factor(bool no_functions) {
    if (done()) return false;
    const char32_t c = text_[at_];
    if (letter(at_) || is_digit(c) || c == U'(' || c == U'{' || c == U'π' || c == U'[') return c != U'[';
    if (c == U'.') return at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
    if (c == U'|') return bars_ == 0;
    if (c != U'\\') return false;
    for (const TextView stop :
         {U"\\cup", U"\\cap", U"\\le", U"\\leq", U"\\ge", U"\\geq", U"\\lt", U"\\gt", U"\\ne", U"\\neq", U"\\in", U"\\approx",
          U"\\times", U"\\cdot", U"\\div", U"\\pm", U"\\mod", U"\\bmod", U"\\end", U"\\}", U"\\rfloor", U"\\rceil", U"\\\\",
          U"\\rvert", U"\\leqslant", U"\\geqslant", U"\\%", U"\\to", U"\\rangle", U"\\circ", U"\\setminus"})
      if (next(stop)) return false;
    return !(no_functions && functions().count(command()));
  }

  Text command() const {  // the name after the backslash
    std::size_t end = at_ + 1;
    while (letter(end)) ++end;
    return Text(text_.substr(at_ + 1, end - at_ - 1));
  }

  Value postfix(bool no_functions) {
    Value v = power(no_functions);
    while (take(U"!")) v = of(call("factorial", {expr(v)}));
    return v;
  }

  bool degree() {  // ^\circ and ^{\circ} are not counted
    const auto start = at_;
    if (take(U"^") && (take(U"\\circ") || take(U"\\degree") ||
                       (take(U"{") && (take(U"\\circ") || take(U"\\degree")) && take(U"}"))))
      return true;
    at_ = start;
    return false;
  }

  E exponent() {
    if (take(U"{")) {
      const E e = expr(sum());
      expect(U"}");
      return e;
    }
    return expr(atom(false));
  }

  Value power(bool no_functions) {
    Value v = atom(no_functions);
    if (degree() || v.kind != K::expr) return v;
    while (!degree() && take(U"^")) {
      const E x = exponent();
      // e^x is exp(x): nothing that a number can be made of by text alone.
      v = of(v.expr->kind == XK::constant && v.expr->name == "e" ? call("exp", {x}) : node(XK::power, {v.expr, x}));
    }
    return v;
  }

  E braced() {
    expect(U"{");
    const E e = expr(sum());
    expect(U"}");
    return e;
  }

  Value number_token() {
    const auto start = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ + 1 < text_.size() && text_[at_] == U'.' && is_digit(text_[at_ + 1]))
      for (++at_; at_ < text_.size() && is_digit(text_[at_]);) ++at_;
    std::string digits = ascii(text_.substr(start, at_ - start));
    static const Pattern scientific(R"(^E[-+]?\d+)");
    if (const auto m = scientific.search(text_.substr(at_))) {
      if (digits.find('.') == digits.npos) digits += ".0";
      digits += ascii(*m->groups[0]), at_ += m->end;
    }
    const E e = decimal(digits);
    const bool percent = any({U"\\%", U"%"});
    return of(percent ? node(XK::multiply, {e, number(1, 100)}) : e);
  }

  std::string subscript() {  // the text of _x or _{..}
    if (!take(U"_")) return "";
    blanks();
    if (at_ >= text_.size()) throw Unreadable{};
    if (text_[at_] != U'{') {
      if (!letter(at_) && !is_digit(text_[at_])) throw Unreadable{};
      return "_" + encode(text_.substr(at_++, 1));
    }
    const auto end = text_.find(U'}', at_);
    if (end == text_.npos) throw Unreadable{};
    std::string inside = encode(replaced(text_.substr(at_ + 1, end - at_ - 1), U" ", U""));
    at_ = end + 1;
    return inside.size() > 1 ? "_{" + inside + "}" : "_" + inside;
  }

  E named(const Text& name) { return symbol(encode(lower(name)) + subscript()); }

  Value atom(bool no_functions) {
    const Nested nested(depth_);
    if (done()) throw Unreadable{};
    const char32_t c = text_[at_];
    if (is_digit(c) || (c == U'.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) return number_token();
    if (c == U'π') return ++at_, of(constant("pi"));
    if (c == U'(' || c == U'[') return bracket();
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

  std::vector<E> arguments() {
    std::vector<E> args;
    expect(U"(");
    do args.push_back(expr(sum()));
    while (take(U","));
    expect(U")");
    return args;
  }

  // (x), (a, b) as an open interval where a < b, else a tuple; [a, b), [x].
  Value bracket() {
    const bool low_open = text_[at_++] == U'(';
    const auto g = groups();
    const bool high_open = take(U")");
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

  static Value interval(const E& low, const E& high, bool low_open, bool high_open) {
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

  Value braces() {
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

  Value of_command(bool no_functions) {
    if (next(U"\\}")) throw Unreadable{};
    const Text name = command();
    if (name.empty()) throw Unreadable{};
    at_ += 1 + name.size();
    static const std::vector<Text> refused = {U"to", U"end", U"left", U"right", U"rfloor", U"rceil", U"int", U"sum", U"lim",
                                              U"prod", U"partial", U"circ", U"degree", U"cap", U"setminus", U"underline",
                                              U"rightarrow", U"Rightarrow", U"boxed", U"mathbf"};
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
      const Text inside(strip(text_.substr(at_, end - at_)));
      at_ = end + 1;
      const auto it = functions().find(inside);
      return function(it == functions().end() ? encode(inside) : it->second);
    }
    if (name == U"begin") return matrix();
    if (const auto it = functions().find(name); it != functions().end()) {
      if (no_functions) throw Unreadable{};
      return function(it->second);
    }
    return of(named(name));
  }

  Value accented(const Text& name) {
    expect(U"{");
    const auto end = text_.find(U'}', at_);
    if (end == text_.npos) throw Unreadable{};
    Text inside = replaced(text_.substr(at_, end - at_), U" ", U"");
    at_ = end + 1;
    if (name == U"text" || name == U"mbox") return of(named(replaced(replaced(inside, U"(", U""), U")", U"")));
    const Text accent = name == U"overline" ? U"bar" : name == U"overrightarrow" ? U"vec" : name;
    return of(named(accent + U"{" + inside + U"}"));
  }

  Value function(const std::string& name) {
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
    if (power && exact(power) && exact(power)->p == -1 && exact(power)->q == 1 && (f == "sin" || f == "cos" || f == "tan"))
      f = "a" + f, power = nullptr;
    const E e = call(f, args);
    return of(power ? node(XK::power, {e, power}) : e);
  }

  Value matrix() {
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
};

// Sums and products of Python.
class Arithmetic {
 public:
  explicit Arithmetic(TextView text) : text_(text) {}
  E all() {
    const E e = sum();
    blanks();
    if (at_ != text_.size()) throw Unreadable{};
    return e;
  }

 private:
  TextView text_;
  std::size_t at_ = 0;
  int depth_ = 0;

  void blanks() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  bool take(TextView s) {
    blanks();
    if (text_.substr(at_, s.size()) != s) return false;
    at_ += s.size();
    return true;
  }
  E sum() {
    E e = product();
    for (;;)
      if (take(U"+")) e = node(XK::add, {e, product()});
      else if (take(U"-")) e = node(XK::add, {e, negative(product())});
      else return e;
  }
  E product() {
    E e = unary();
    for (;;)
      if (take(U"//")) e = call("floor", {quotient(e, unary())});
      else if (take(U"*")) e = node(XK::multiply, {e, unary()});
      else if (take(U"/")) e = quotient(e, unary());
      else return e;
  }
  E unary() {
    if (++depth_ > 200) throw Unreadable{};
    E e;
    if (take(U"+")) e = unary();
    else if (take(U"-")) e = negative(unary());
    else {
      e = primary();
      if (take(U"**") || take(U"^")) e = node(XK::power, {e, unary()});
    }
    --depth_;
    return e;
  }
  E primary() {
    if (take(U"(")) {
      const E e = sum();
      if (!take(U")")) throw Unreadable{};
      return e;
    }
    blanks();
    const auto start = at_;
    const auto digits = [&] {
      while (at_ < text_.size() && text_[at_] >= U'0' && text_[at_] <= U'9') ++at_;
    };
    digits();
    const bool point = at_ < text_.size() && text_[at_] == U'.';
    if (point) ++at_, digits();
    const std::string s = encode(text_.substr(start, at_ - start));
    if (s.empty() || s == ".") throw Unreadable{};
    if (!point && s.size() > 1 && s[0] == '0' && s.find_first_not_of('0') != s.npos) throw Unreadable{};
    return decimal(s);
  }
};

}  // namespace

Value read_latex(TextView normal) { return Reader(normal).all(); }

E read_arithmetic(TextView text) { return Arithmetic(text).all(); }

}  // namespace ov::rl::math
