#include "base/cosine.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace ov;

TEST_CASE("cosine: the f64 nearest to the exact value, at ends, quarters and next to its zero") {
  // mpmath 1.3, 200 bits.
  constexpr double cases[][2] = {
      {0x0p+0, 0x1p+0},
      {0x1.12e0be826d695p-30, 0x1.0000000000000p+0},
      {0x1.999999999999ap-4, 0x1.fd712f9a817c1p-1},
      {0x1.0000000000000p-1, 0x1.c1528065b7d50p-1},
      {0x1.921fb54442d18p-1, 0x1.6a09e667f3bcdp-1},
      {0x1.921fb54442d19p-1, 0x1.6a09e667f3bccp-1},
      {0x1.0000000000000p+0, 0x1.14a280fb5068cp-1},
      {0x1.8000000000000p+0, 0x1.21bd54fc5f9a7p-4},
      {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54},
      {0x1.921fb54442d19p+0, -0x1.72cece675d1fdp-53},
      {0x1.999999999999ap+0, -0x1.de67ac55f1633p-6},
      {0x1.0000000000000p+1, -0x1.aa22657537205p-2},
      {0x1.2d97c7f3321d2p+1, -0x1.6a09e667f3bccp-1},
      {0x1.4000000000000p+1, -0x1.9a2f7ef858b7dp-1},
      {0x1.8000000000000p+1, -0x1.fae04be85e5d2p-1},
      {0x1.8cccccccccccdp+1, -0x1.ff8ea4756a624p-1},
      {0x1.921fb54442d18p+1, -0x1.0000000000000p+0},
  };
  for (const auto& c : cases) {
    CAPTURE(c[0]);
    CHECK(cosine(c[0]) == c[1]);
  }
}

TEST_CASE("cosine: at most one unit in the last place from libm's, and hardly ever one") {
  constexpr int n = 200000;
  int other = 0, far = 0;
  for (int i = 0; i <= n; ++i) {
    const double x = 3.141592653589793 * i / n, ours = cosine(x), theirs = std::cos(x);
    if (ours == theirs) continue;
    ++other;
    far += ours != std::nextafter(theirs, ours);
  }
  CHECK(far == 0);
  CHECK(other < n / 20);
}
