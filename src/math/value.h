// What a piece of mathematics is read as, and when two of them are equal: the part of SymPy that answers need. Numbers
// are exact rationals while they fit in 128 bits. Two expressions are equal when they agree at random real points: an
// identity that holds at all of them and is none does not occur.
#pragma once
#include <complex>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ov::math {

struct Unreadable {};  // what a reader throws

struct Rational {
  __int128 p = 0, q = 1;  // lowest terms, q > 0
};
std::optional<Rational> rational(__int128 p, __int128 q);  // nothing for q = 0

struct Expr;
using E = std::shared_ptr<const Expr>;

struct Expr {
  enum class Kind { number, decimal, symbol, constant, add, multiply, power, call } kind;
  Rational number = {};      // exact
  long double decimal = 0;   // a number written with a point
  std::string name = {};     // of a symbol, a function, or the constants pi, e, i, oo, -oo
  std::vector<E> args = {};  // of sums, products, powers (base, exponent) and calls
};

E number(__int128 p, __int128 q = 1);  // Unreadable for q = 0
E decimal(const std::string& digits);  // "42" is exact, "42.0" is a decimal; Unreadable when it is too long
E symbol(const std::string& name);
E constant(const std::string& name);
E node(Expr::Kind kind, std::vector<E> args);
E call(const std::string& name, std::vector<E> args);
E negative(const E& e);
E quotient(const E& a, const E& b);  // of two whole numbers: a rational number

std::optional<Rational> exact(const E& e);  // of an expression without decimals, symbols and roots
bool has_symbols(const E& e);
// The real value of an expression without symbols; nothing where it has none.
std::optional<long double> real_value(const E& e);
bool same(const E& a, const E& b);                         // a - b is zero
std::optional<long double> ratio(const E& a, const E& b);  // a / b where that is one real number whatever the symbols

struct Interval {
  E low, high;
  bool low_open = false, high_open = false;
};

struct Value {
  enum class Kind { expr, relation, set, tuple, region, matrix } kind = Kind::expr;
  E expr = {};
  std::vector<Value> items = {};      // sides of a chain of relations, elements, entries row by row
  std::vector<std::string> ops = {};  // between the sides: = < > <= >= !=
  std::vector<Interval> region = {};  // a union of intervals; none: the empty set
  std::size_t rows = 0;
};
Value of(E e);
Value set_of(std::vector<Value> items);

// Whether `a`, which the original takes for the gold answer, equals `b` (math_verify's rules, six decimals).
bool equal(const Value& a, const Value& b);

}  // namespace ov::math
