// When two values are equal: math_verify's order of attempts. Where it is not symmetric, `a` is its gold.
#include <algorithm>
#include <cmath>
#include <set>

#include "math/value.h"

namespace ov::math {
namespace {

using K = Value::Kind;

bool only_symbols(const E& e) {
  if (e->kind == Expr::Kind::symbol) return true;
  if (e->kind == Expr::Kind::power && exact(e->args[1]) && exact(e->args[1])->p == -1) return only_symbols(e->args[0]);
  return !e->args.empty() && std::all_of(e->args.begin(), e->args.end(), only_symbols);
}

bool is_equation(const Value& v) {
  return v.kind == K::relation && std::all_of(v.ops.begin(), v.ops.end(), [](const auto& op) { return op == "="; });
}
bool is_assignment(const Value& v) {
  return is_equation(v) && v.items[0].kind == K::expr && only_symbols(v.items[0].expr);
}
bool is_set(const Value& v) { return v.kind == K::set || v.kind == K::region; }

Value point(const Interval& i) {
  Value v;
  v.kind = K::region, v.region = {i};
  return v;
}

// x > 2 and 1 < x < 2 as the sets of their x; the value itself where it is not so simple.
Value as_set(const Value& v) {
  const std::size_t n = v.items.size();
  std::size_t at = n;
  for (std::size_t i = 0; i < n; ++i) {
    if (v.items[i].kind != K::expr) return v;
    if (v.items[i].expr->kind == Expr::Kind::symbol) at = i;
    else if (has_symbols(v.items[i].expr)) return v;
  }
  if (at == n) return v;
  Interval in{negative(constant("oo")), constant("oo"), true, true};
  for (std::size_t i = 0; i + 1 < n; ++i) {
    const bool left = i + 1 == at;  // a op x
    if (!left && i != at) return v;
    const std::string& op = v.ops[i];
    const E bound = v.items[left ? i : i + 1].expr;
    if (op == "=") return set_of({of(bound)});
    if (op == "!=") return v;
    const bool open = op.size() == 1;
    if ((op[0] == '<') == left) in.low = bound, in.low_open = open;
    else in.high = bound, in.high_open = open;
  }
  return point(in);
}

long double six_decimals(long double x) { return std::round(x * 1e6L) / 1e6L; }

bool is_decimal(const E& e) {  // a decimal, or a percentage of one
  const auto hundredth = [](const E& a) {
    const auto q = exact(a);
    return q && q->p == 1 && q->q == 100;
  };
  return e->kind == Expr::Kind::decimal || (e->kind == Expr::Kind::multiply && e->args.size() == 2 &&
                                            hundredth(e->args[1]) && e->args[0]->kind == Expr::Kind::decimal);
}

bool has_decimals(const E& e) {
  return e->kind == Expr::Kind::decimal || std::any_of(e->args.begin(), e->args.end(), has_decimals);
}

std::string lowered(std::string s) {
  if (s.size() > 1) std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
  return s;
}

// $abc$ is a product of letters, \text{abc} one name.
std::optional<std::string> joined(const E& e) {
  if (e->kind == Expr::Kind::symbol) return e->name;
  if (e->kind == Expr::Kind::constant && e->name == "e") return e->name;
  if (e->kind != Expr::Kind::multiply) return std::nullopt;
  std::string out;
  for (const E& a : e->args)
    if (const auto part = joined(a)) out += *part;
    else return std::nullopt;
  return out;
}

bool equal_exprs(const E& a, const E& b) {
  if (a->kind == Expr::Kind::symbol || b->kind == Expr::Kind::symbol) {
    const auto x = joined(a), y = joined(b);
    return x && y && lowered(*x) == lowered(*y);
  }
  if (is_decimal(a) || is_decimal(b)) {
    // Against a whole number nothing is rounded: a decimal equals it or not.
    const auto whole = [](const E& e) {
      const auto x = real_value(e);
      return !has_decimals(e) && x && std::abs(*x - std::round(*x)) < 1e-15L * (1 + std::abs(*x));
    };
    const auto x = real_value(a), y = real_value(b);
    if (x && y && std::isfinite(*x) && std::isfinite(*y) && !whole(a) && !whole(b) &&
        six_decimals(*x) == six_decimals(*y))
      return true;
  }
  return same(a, b);
}

bool elements_equal(const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!equal(a[i], b[i])) return false;
  return true;
}

// Numbers in order, the rest behind them; every element once, when it is a set.
std::vector<Value> in_order(std::vector<Value> items, bool is_a_set) {
  std::vector<Value> once;
  for (Value& v : items)
    if (!is_a_set || std::none_of(once.begin(), once.end(), [&](const Value& o) {
          return o.kind == K::expr && v.kind == K::expr && same(o.expr, v.expr);
        }))
      once.push_back(std::move(v));
  const auto key = [](const Value& v) -> std::pair<int, long double> {
    const Value& r = is_assignment(v) ? v.items.back() : v;
    const auto x = r.kind == K::expr ? real_value(r.expr) : std::nullopt;
    return {!x, x.value_or(0)};
  };
  std::stable_sort(once.begin(), once.end(), [&](const Value& a, const Value& b) { return key(a) < key(b); });
  return once;
}

bool sets_of_symbols_equal(const std::vector<Value>& a, const std::vector<Value>& b) {
  std::vector<Value> rest = b;
  for (const Value& v : a) {
    const auto it = std::find_if(rest.begin(), rest.end(), [&](const Value& o) { return equal(v, o); });
    if (it == rest.end()) return false;
    rest.erase(it);
  }
  return rest.empty();
}

bool intervals_equal(const Interval& a, const Interval& b) {
  return a.low_open == b.low_open && a.high_open == b.high_open && equal_exprs(a.low, b.low) &&
         equal_exprs(a.high, b.high);
}

bool equal_sets(const Value& a, const Value& b) {
  const auto as_items = [](const Value& v) {
    return v.kind == K::set || v.kind == K::tuple ? v.items : std::vector{v};
  };
  if (a.kind == K::region && b.kind == K::region) {
    if (a.region.size() != b.region.size()) return false;
    for (std::size_t i = 0; i < a.region.size(); ++i)
      if (!intervals_equal(a.region[i], b.region[i])) return false;
    return true;
  }
  if (a.kind == K::region || b.kind == K::region) {  // (1, 2) is an open interval, or a pair
    const Value &r = a.kind == K::region ? a : b, &other = a.kind == K::region ? b : a;
    if (r.region.empty()) return as_items(other).empty();
    const Interval& i = r.region[0];
    if (r.region.size() != 1 || !i.low_open || !i.high_open || (other.kind != K::set && other.kind != K::tuple))
      return false;
    const auto items = other.kind == K::set ? in_order(other.items, true) : other.items;
    return elements_equal({of(i.low), of(i.high)}, items);
  }
  if (a.kind == K::tuple && b.kind == K::set) return elements_equal(a.items, b.items);
  if (a.kind == K::tuple) return b.kind == K::tuple && elements_equal(a.items, b.items);
  // A set brings what it is compared with into order too, a tuple as much as a set.
  const auto x = in_order(as_items(a), true), y = in_order(as_items(b), b.kind != K::tuple);
  return elements_equal(x, y) || (b.kind != K::tuple && sets_of_symbols_equal(x, y));
}

// Left side minus right side of a single relation.
std::optional<E> difference(const Value& v) {
  if (v.items.size() != 2 || v.items[0].kind != K::expr || v.items[1].kind != K::expr) return std::nullopt;
  return node(Expr::Kind::add, {v.items[0].expr, negative(v.items[1].expr)});
}

std::string flipped(const std::string& op) {
  return op == "<" ? ">" : op == ">" ? "<" : op == "<=" ? ">=" : op == ">=" ? "<=" : op;
}

bool equal_relations(const Value& a, const Value& b) {
  if (a.ops.size() != b.ops.size()) return false;
  if (a.ops.size() > 1) {
    for (std::size_t i = 0; i < a.ops.size(); ++i) {
      Value x, y;
      x.kind = y.kind = K::relation;
      x.items = {a.items[i], a.items[i + 1]}, x.ops = {a.ops[i]};
      y.items = {b.items[i], b.items[i + 1]}, y.ops = {b.ops[i]};
      if (!equal_relations(x, y)) return false;
    }
    return true;
  }
  const auto x = difference(a), y = difference(b);
  if (!x || !y)  // a set on a side: x in {1, 2}
    return a.ops == b.ops && equal(a.items[0], b.items[0]) && equal(a.items[1], b.items[1]);
  if (a.ops == b.ops && same(*x, *y)) return true;
  if (flipped(a.ops[0]) == b.ops[0] && same(*x, negative(*y))) return true;
  // The same solutions: one difference is a multiple of the other, by a positive number where order counts.
  const auto k = has_symbols(*x) && has_symbols(*y) ? ratio(*x, *y) : std::nullopt;
  return k && *k != 0 && (*k > 0 ? a.ops == b.ops : flipped(a.ops[0]) == b.ops[0]);
}

}  // namespace

bool equal(const Value& gold, const Value& pred) {
  Value a = gold, b = pred;
  const bool assigns = is_assignment(a), equation_a = is_equation(a), equation_b = is_equation(b);
  for (Value* v : {&a, &b})
    if (is_assignment(*v)) v->items = {v->items.front(), v->items.back()}, v->ops = {"="};
  if (equation_b && !equation_a) b = Value(b.items.back());
  else if (assigns && !equation_b) a = Value(a.items.back());
  if (a.kind == K::relation && is_set(b)) a = as_set(a);

  if (a.kind == K::relation && b.kind == K::relation) return equal_relations(a, b);
  if (is_set(a) || is_set(b) || a.kind == K::tuple || b.kind == K::tuple)
    return a.kind != K::relation && b.kind != K::relation && equal_sets(a, b);
  if (a.kind == K::matrix || b.kind == K::matrix)
    return a.kind == b.kind && a.rows == b.rows && elements_equal(a.items, b.items);
  return a.kind == K::expr && b.kind == K::expr && equal_exprs(a.expr, b.expr);
}

}  // namespace ov::math
