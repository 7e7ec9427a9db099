#include "math/value.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/hash.h"

namespace ov::math {
namespace {

using Kind = Expr::Kind;
using Complex = std::complex<long double>;

__int128 gcd(__int128 a, __int128 b) {
  while (b != 0) std::swap(a %= b, b);
  return a < 0 ? -a : a;
}

std::optional<__int128> times(__int128 a, __int128 b) {
  __int128 r;
  return __builtin_mul_overflow(a, b, &r) ? std::nullopt : std::optional(r);
}
std::optional<Rational> multiply(const Rational& a, const Rational& b) {
  const auto p = times(a.p, b.p), q = times(a.q, b.q);
  return p && q ? rational(*p, *q) : std::nullopt;
}
std::optional<Rational> add(const Rational& a, const Rational& b) {
  const auto l = times(a.p, b.q), r = times(b.p, a.q), q = times(a.q, b.q);
  __int128 p;
  return l && r && q && !__builtin_add_overflow(*l, *r, &p) ? rational(p, *q) : std::nullopt;
}

long double as_real(const Rational& r) { return static_cast<long double>(r.p) / static_cast<long double>(r.q); }

const long double pi = std::acos(-1.0L), nan = std::nanl("");

Complex function_value(const std::string& f, const std::vector<Complex>& x) {
  const Complex z = x.at(0), one = 1;
  const bool real = z.imag() == 0;
  if (f == "abs") return std::abs(z);
  if (f == "sin") return std::sin(z);
  if (f == "cos") return std::cos(z);
  if (f == "tan") return std::tan(z);
  if (f == "cot") return one / std::tan(z);
  if (f == "sec") return one / std::cos(z);
  if (f == "csc") return one / std::sin(z);
  if (f == "asin") return std::asin(z);
  if (f == "acos") return std::acos(z);
  if (f == "atan") return std::atan(z);
  if (f == "sinh") return std::sinh(z);
  if (f == "cosh") return std::cosh(z);
  if (f == "tanh") return std::tanh(z);
  if (f == "exp") return std::exp(z);
  if (f == "log") return x.size() > 1 ? std::log(z) / std::log(x[1]) : std::log(z);
  if (f == "floor") return real ? Complex(std::floor(z.real() + 1e-15L)) : nan;
  if (f == "ceil") return real ? Complex(std::ceil(z.real() - 1e-15L)) : nan;
  if (f == "factorial") return real ? Complex(std::tgamma(z.real() + 1)) : nan;
  if (f == "binomial")
    return std::round(std::exp(std::lgamma(z.real() + 1) - std::lgamma(x.at(1).real() + 1) -
                               std::lgamma(z.real() - x[1].real() + 1)));
  if (f == "mod") return z.real() - x.at(1).real() * std::floor(z.real() / x[1].real());
  if (f == "max" || f == "min") {
    long double best = z.real();
    for (const Complex& v : x) best = f == "max" ? std::max(best, v.real()) : std::min(best, v.real());
    return best;
  }
  if (f == "gcd" || f == "lcm") {
    for (const Complex& v : x)
      if (!(std::abs(v.real()) < 1e9L) || x.size() > 2) return nan;
    auto g = std::llround(z.real());
    for (std::size_t i = 1; i < x.size(); ++i)
      g = f == "gcd" ? std::gcd(g, std::llround(x[i].real())) : std::lcm(g, std::llround(x[i].real()));
    return static_cast<long double>(g);
  }
  // A function that nobody defined: some number for every name and argument.
  Complex out = static_cast<long double>(fnv1a(f) % 1000003) / 1000003;
  for (std::size_t i = 0; i < x.size(); ++i) out += std::sin(x[i] * static_cast<long double>(i + 2) + out);
  return out;
}

Complex value(const E& e, int point) {
  switch (e->kind) {
    case Kind::number: return as_real(e->number);
    case Kind::decimal: return e->decimal;
    case Kind::symbol: {
      const auto h = fnv1a(e->name + std::to_string(point));
      return (point % 2 ? -1.0L : 1.0L) * (0.3L + static_cast<long double>(h % 1000003) / 400000);
    }
    case Kind::constant:
      return e->name == "pi"  ? Complex(pi)
             : e->name == "e" ? Complex(std::exp(1.0L))
             : e->name == "i" ? Complex(0, 1)
                              : Complex(e->name == "oo" ? HUGE_VALL : -HUGE_VALL);
    case Kind::call: {
      std::vector<Complex> x;
      for (const E& a : e->args) x.push_back(value(a, point));
      return function_value(e->name, x);
    }
    case Kind::power: {
      const Complex b = value(e->args[0], point), x = value(e->args[1], point);
      if (const auto n = exact(e->args[1]); n && n->q == 1 && n->p >= -64 && n->p <= 64) {  // whole: no logarithm
        Complex r = 1;
        for (__int128 i = 0; i < (n->p < 0 ? -n->p : n->p); ++i) r *= b;
        return n->p < 0 ? Complex(1) / r : r;
      }
      if (b == Complex(0)) return x.real() > 0 ? Complex(0) : Complex(nan);
      return b.imag() == 0 && b.real() > 0 && x.imag() == 0 ? Complex(std::pow(b.real(), x.real())) : std::pow(b, x);
    }
    case Kind::add:
    case Kind::multiply: {
      Complex r = e->kind == Kind::add ? 0 : 1;
      for (const E& a : e->args) e->kind == Kind::add ? r += value(a, point) : r *= value(a, point);
      return r;
    }
  }
  return nan;
}

bool finite(const Complex& z) { return std::isfinite(z.real()) && std::isfinite(z.imag()); }

}  // namespace

std::optional<Rational> rational(__int128 p, __int128 q) {
  if (q == 0) return std::nullopt;
  const __int128 g = gcd(p, q) * (q < 0 ? -1 : 1);
  return Rational{p / g, q / g};
}

E number(__int128 p, __int128 q) {
  const auto r = rational(p, q);
  if (!r) throw Unreadable{};
  return std::make_shared<Expr>(Expr{.kind = Kind::number, .number = *r});
}

E decimal(const std::string& digits) {
  if (digits.find('.') != digits.npos)
    return std::make_shared<Expr>(Expr{.kind = Kind::decimal, .decimal = std::strtold(digits.c_str(), nullptr)});
  __int128 n = 0;
  for (const char c : digits)
    if (c != '-' && (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, c - '0', &n))) throw Unreadable{};
  return number(digits[0] == '-' ? -n : n);
}

E symbol(const std::string& name) { return std::make_shared<Expr>(Expr{.kind = Kind::symbol, .name = name}); }
E constant(const std::string& name) { return std::make_shared<Expr>(Expr{.kind = Kind::constant, .name = name}); }
E node(Kind kind, std::vector<E> args) { return std::make_shared<Expr>(Expr{.kind = kind, .args = std::move(args)}); }
E call(const std::string& name, std::vector<E> args) {
  return std::make_shared<Expr>(Expr{.kind = Kind::call, .name = name, .args = std::move(args)});
}

E negative(const E& e) {
  if (e->kind == Kind::number) return number(-e->number.p, e->number.q);
  if (e->kind == Kind::decimal) return std::make_shared<Expr>(Expr{.kind = Kind::decimal, .decimal = -e->decimal});
  if (e->kind == Kind::constant && e->name == "oo") return constant("-oo");
  return node(Kind::multiply, {number(-1), e});
}

E quotient(const E& a, const E& b) {
  if (a->kind == Kind::number && b->kind == Kind::number && a->number.q == 1 && b->number.q == 1)
    return number(a->number.p, b->number.p);
  return node(Kind::multiply, {a, node(Kind::power, {b, number(-1)})});
}

std::optional<Rational> exact(const E& e) {
  if (e->kind == Kind::number) return e->number;
  if (e->kind == Kind::add || e->kind == Kind::multiply) {
    std::optional<Rational> r = Rational{e->kind == Kind::multiply, 1};
    for (const E& a : e->args) {
      const auto x = exact(a);
      r = !r || !x ? std::nullopt : e->kind == Kind::add ? add(*r, *x) : multiply(*r, *x);
    }
    return r;
  }
  if (e->kind == Kind::power) {
    const auto base = exact(e->args[0]), n = exact(e->args[1]);
    if (!base || !n || n->q != 1 || n->p > 4096 || n->p < -4096) return std::nullopt;
    std::optional<Rational> r = Rational{1, 1};
    for (__int128 i = 0; r && i < (n->p < 0 ? -n->p : n->p); ++i) r = multiply(*r, *base);
    return r && n->p < 0 ? rational(r->q, r->p) : r;
  }
  return std::nullopt;
}

bool has_symbols(const E& e) {
  return e->kind == Kind::symbol ||
         std::any_of(e->args.begin(), e->args.end(), [](const E& a) { return has_symbols(a); });
}

std::optional<long double> real_value(const E& e) {
  if (has_symbols(e)) return std::nullopt;
  const Complex z = value(e, 0);
  if (std::isnan(z.real()) || (std::isfinite(z.real()) && std::abs(z.imag()) > 1e-15L * std::abs(z.real())))
    return std::nullopt;
  return z.real();
}

bool same(const E& a, const E& b) {
  if (const auto x = exact(a), y = exact(b); x && y) return x->p == y->p && x->q == y->q;
  if (a->kind == Kind::constant && b->kind == Kind::constant) return a->name == b->name;
  int agreed = 0;
  for (int point = 0; point < 8 && agreed < 4; ++point) {
    const Complex x = value(a, point), y = value(b, point);
    if (x == y && !std::isnan(x.real())) {  // infinities too
      ++agreed;
      continue;
    }
    if (!finite(x) || !finite(y)) {
      if (finite(x) != finite(y) && !has_symbols(a) && !has_symbols(b)) return false;
      continue;
    }
    if (std::abs(x - y) > 1e-14L * (std::abs(x) + std::abs(y)) + 1e-17L) return false;
    ++agreed;
  }
  return agreed >= 2;
}

std::optional<long double> ratio(const E& a, const E& b) {
  std::optional<long double> r;
  for (int point = 0; point < 4; ++point) {
    const Complex q = value(a, point) / value(b, point);
    if (!finite(q) || q.imag() != 0 || (r && std::abs(q.real() - *r) > 1e-13L * std::abs(*r))) return std::nullopt;
    r = q.real();
  }
  return r;
}

Value of(E e) {
  Value v;
  v.expr = std::move(e);
  return v;
}

Value set_of(std::vector<Value> items) {
  Value v;
  v.kind = Value::Kind::set;
  v.items = std::move(items);
  return v;
}

}  // namespace ov::math
