#include "math/python_value.h"

#include <cmath>

namespace ov::math {
namespace {

using Kind = Expr::Kind;

PythonNumber whole(__int128 n) { return {true, n, 0}; }
PythonNumber real(double x) { return {false, 0, x}; }

}  // namespace

PythonNumber python_value(const E& e) {
  switch (e->kind) {
    case Kind::number:
      return e->number.q == 1 ? whole(e->number.p)
                              : real(static_cast<double>(static_cast<long double>(e->number.p) /
                                                         static_cast<long double>(e->number.q)));
    case Kind::decimal:
      if (std::abs(e->decimal) > 1e20L) throw Unreadable{};
      return real(static_cast<double>(e->decimal));
    case Kind::add:
    case Kind::multiply: {
      PythonNumber r = whole(e->kind == Kind::multiply);
      for (const E& a : e->args) {
        const PythonNumber x = python_value(a);
        if (r.whole && x.whole) {
          const bool over =
              e->kind == Kind::add ? __builtin_add_overflow(r.n, x.n, &r.n) : __builtin_mul_overflow(r.n, x.n, &r.n);
          if (over) throw Unreadable{};
        } else {
          r = real(e->kind == Kind::add ? r.as_double() + x.as_double() : r.as_double() * x.as_double());
        }
      }
      return r;
    }
    case Kind::power: {
      const auto half = exact(e->args[1]);
      if (half && half->q == 2 && (half->p == 1 || half->p == -1)) throw Unreadable{};  // printed as sqrt
      if (half && half->q == 1 && half->p > 128) throw Unreadable{};
      const PythonNumber b = python_value(e->args[0]), x = python_value(e->args[1]);
      if (b.whole && x.whole && x.n >= 0) {
        if (const auto p = exact(e)) return whole(p->p);
      }
      const double r = std::pow(b.as_double(), x.as_double());
      if (!std::isfinite(r)) throw Unreadable{};  // a complex number, or a division by zero
      return real(r);
    }
    default: throw Unreadable{};
  }
}

PythonNumber python_value(View latex) {
  const Value v = read_latex(normal_latex(latex, {}));
  if (v.kind != Value::Kind::expr) throw Unreadable{};
  return python_value(v.expr);
}

}  // namespace ov::math
