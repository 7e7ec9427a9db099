// The cosine of the learning rate's schedule. In f64 libm's cosine may differ in the last place from version to
// version, and with it the rate of a step; this one has the same bits wherever + - * / and fma are IEEE's.
//
// Arithmetic on pairs of f64, hi + lo with |lo| <= ulp(hi) / 2 (Dekker 1971), leaves about 100 bits before the one
// rounding at the end: the result is the f64 nearest to the cosine but for cases closer to a tie than 2^-40 ulp.
#pragma once
#include <cmath>

namespace ov {
namespace detail {

struct Pair {
  double hi, lo;
};

inline Pair normalised(double hi, double lo) {  // |hi| >= |lo|
  const double s = hi + lo;
  return {s, lo - (s - hi)};
}
inline Pair minus(double a, Pair b) {  // a - b
  const double s = a - b.hi, t = s - a;
  return normalised(s, ((a - (s - t)) - (b.hi + t)) - b.lo);
}
inline Pair times(Pair a, Pair b) {
  const double p = a.hi * b.hi;
  return normalised(p, std::fma(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi));
}
inline Pair over(Pair a, double n) {
  const double q = a.hi / n;
  return normalised(q, (std::fma(-q, n, a.hi) + a.lo) / n);
}

}  // namespace detail

// 0 <= x <= π.
inline double cosine(double x) {
  using namespace detail;
  // x = quarter · π/2 + r, |r| <= π/4; π/2 in three parts, of which the difference with the first is exact.
  const int quarter = x < 0.78539816339744831 ? 0 : x < 2.3561944901923449 ? 1 : 2;
  const double first = x - quarter * 0x1.921fb54442d18p+0;
  Pair r = minus(first, {quarter * 0x1.1a62633145c07p-54, quarter * -0x1.f1976b7ed8fbcp-110});
  const Pair z = times(r, r);
  // Taylor's series from its end, z = r²; what is cut off is below r^30 / 30! < 3e-36.
  //   cos r = 1 - z/(1·2) (1 - z/(3·4) (1 - ...)),   sin r = r (1 - z/(2·3) (1 - z/(4·5) (1 - ...)))
  const int odd = quarter == 1;
  Pair sum{1, 0};
  for (int i = 14; i > 0; --i) sum = minus(1, over(times(z, sum), (2.0 * i - 1 + odd) * (2.0 * i + odd)));
  if (odd) sum = times(r, sum);
  return quarter == 0 ? sum.hi : -sum.hi;
}

}  // namespace ov
