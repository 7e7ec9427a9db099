#include "math/exact.h"

#include <cmath>
#include <numbers>
#include <utility>

namespace ov::math {
namespace {

__int128 times(__int128 a, __int128 b) {
  __int128 out = 0;
  if (__builtin_mul_overflow(a, b, &out)) throw Exact::Unknown();
  return out;
}
__int128 plus(__int128 a, __int128 b) {
  __int128 out = 0;
  if (__builtin_add_overflow(a, b, &out)) throw Exact::Unknown();
  return out;
}
__int128 common(__int128 a, __int128 b) {
  a = a < 0 ? -a : a, b = b < 0 ? -b : b;
  while (b) a = std::exchange(b, a % b);
  return a;
}
Rational lowest(__int128 over, __int128 under) {
  if (under == 0) throw Exact::Unknown();
  const __int128 g = common(over, under) * (under < 0 ? -1 : 1);
  return {over / g, under / g};
}
Rational add(const Rational& a, const Rational& b) {
  return lowest(plus(times(a.over, b.under), times(b.over, a.under)), times(a.under, b.under));
}
Rational multiply(const Rational& a, const Rational& b) {
  return lowest(times(a.over, b.over), times(a.under, b.under));
}

}  // namespace

Exact::Exact(std::int64_t whole) { add({}, {whole, 1}); }
Exact Exact::ratio(__int128 over, __int128 under) {
  Exact out;
  out.add({}, lowest(over, under));
  return out;
}
Exact Exact::letter(const std::string& name) {
  Exact out;
  out.add({1, {{name, 1}}}, {1, 1});
  return out;
}
Exact Exact::decimal(const std::string& digits) {
  __int128 over = 0, under = 1;
  bool behind = false;
  for (const char c : digits) {
    if (c == '.') behind = true;
    else over = plus(times(over, 10), c - '0'), under = behind ? times(under, 10) : under;
  }
  return ratio(over, under);
}

void Exact::add(const Key& key, const Rational& q) {
  Rational& own = terms_[key];
  own = math::add(own, q);
  if (own.over == 0) terms_.erase(key);
}

Exact operator+(const Exact& a, const Exact& b) {
  Exact out = a;
  for (const auto& [key, q] : b.terms_) out.add(key, q);
  return out;
}
Exact operator-(const Exact& a, const Exact& b) { return a + Exact(-1) * b; }

Exact operator*(const Exact& a, const Exact& b) {
  Exact out;
  for (const auto& [ka, qa] : a.terms_)
    for (const auto& [kb, qb] : b.terms_) {
      const __int128 shared = common(ka.under_root, kb.under_root);  // √(ga) √(gb) = g √(ab)
      const __int128 rest = times(ka.under_root / shared, kb.under_root / shared);
      if (rest > INT64_MAX) throw Exact::Unknown();
      Exact::Key key{static_cast<std::int64_t>(rest), ka.powers};
      for (const auto& [name, power] : kb.powers)
        if ((key.powers[name] += power) == 0) key.powers.erase(name);
      out.add(key, multiply(multiply(qa, qb), {shared, 1}));
    }
  return out;
}

// 1 / (q √r x^a) = √r x^-a / (q r); of two terms by (s + t)(s - t).
Exact Exact::inverse() const {
  if (terms_.size() == 1) {
    const auto& [key, q] = *terms_.begin();
    Key flipped{key.under_root, {}};
    for (const auto& [name, power] : key.powers) flipped.powers[name] = -power;
    Exact out;
    out.add(flipped, lowest(q.under, times(q.over, key.under_root)));
    return out;
  }
  if (terms_.size() != 2) throw Unknown();
  Exact conjugate = *this;
  Rational& second = conjugate.terms_.rbegin()->second;
  second.over = -second.over;
  const Exact norm = *this * conjugate;
  if (norm.terms_.size() != 1) throw Unknown();
  return conjugate * norm.inverse();
}
Exact operator/(const Exact& a, const Exact& b) { return a * b.inverse(); }

std::optional<Rational> Exact::rational() const {
  if (terms_.empty()) return Rational();
  const auto& [key, q] = *terms_.begin();
  if (terms_.size() > 1 || key != Key()) return {};
  return q;
}

Exact Exact::root() const {
  const auto q = rational();
  if (!q || q->over < 0) throw Unknown();
  __int128 rest = times(q->over, q->under), outside = 1;  // √(n/d) = √(nd) / d
  if (rest == 0) return {};
  constexpr __int128 largest = 1'000'000;  // of the primes that are tried
  for (__int128 p = 2; p * p <= rest && p <= largest; ++p)
    while (rest % (p * p) == 0) rest /= p * p, outside *= p;
  if (rest > largest * largest) {  // a square of a large prime may be left
    const auto whole = static_cast<__int128>(std::llround(std::sqrt(static_cast<double>(rest))));
    if (whole * whole == rest) outside = times(outside, whole), rest = 1;
    else throw Unknown();
  }
  Exact out;
  out.add({static_cast<std::int64_t>(rest), {}}, lowest(outside, q->under));
  return out;
}

Exact Exact::power(const Exact& exponent) const {
  const auto e = exponent.rational();
  if (!e || e->under > 2 || e->over > 200 || e->over < -200) throw Unknown();
  const Exact base = e->under == 2 ? root() : *this;
  Exact out(1);
  for (__int128 i = 0; i < (e->over < 0 ? -e->over : e->over); ++i) out = out * base;
  return e->over < 0 ? Exact(1) / out : out;
}

std::optional<double> Exact::value() const {
  double sum = 0;
  for (const auto& [key, q] : terms_) {
    double term =
        static_cast<double>(q.over) / static_cast<double>(q.under) * std::sqrt(static_cast<double>(key.under_root));
    for (const auto& [name, power] : key.powers) {
      if (name != "pi") return {};
      term *= std::pow(std::numbers::pi, power);
    }
    sum += term;
  }
  return sum;
}

}  // namespace ov::math
