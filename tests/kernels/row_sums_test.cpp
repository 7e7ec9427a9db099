#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/row_sums.h"

namespace {

using namespace ov;
using i64 = std::int64_t;

float value(i64 n, i64 c) { return static_cast<float>((n * 7919 + c * 104729) % 2003 - 1001) / 977.0F; }

template <class A>
std::vector<A> sums(i64 N, i64 C) {
  std::vector<A> dw(static_cast<std::size_t>(C), A(0.5));
  kernels::add_sum_of_rows(N, C, dw.data(), [](i64 n) { return [n](i64 c) { return static_cast<A>(value(n, c)); }; });
  return dw;
}

// The tree by recursion over the number of blocks: the left half is the largest power of two below it.
float tree(i64 first, i64 blocks, i64 N, i64 c) {
  if (blocks == 1) {
    float s = 0;
    for (i64 n = 64 * first; n < std::min(64 * first + 64, N); ++n) s += value(n, c);
    return s;
  }
  i64 left = 1;
  while (2 * left < blocks) left *= 2;
  return tree(first, left, N, c) + tree(first + left, blocks - left, N, c);
}

TEST_CASE("sum of rows: the tree over blocks of 64 rows is what the contract says, bit for bit") {
  for (const i64 N : {1, 63, 64, 65, 127, 128, 129, 193, 1000})
    for (const i64 C : {1, 7, 127, 128, 129, 300}) {
      const auto dw = sums<float>(N, C);
      bool same = true, chain_differs = false;
      for (i64 c = 0; c < C; ++c) {
        const float got = dw[static_cast<std::size_t>(c)];
        same = same && got == 0.5F + tree(0, (N + 63) / 64, N, c);
        float chain = 0;
        for (i64 n = 0; n < N; ++n) chain += value(n, c);
        chain_differs = chain_differs || got != 0.5F + chain;
      }
      CAPTURE(N);
      CAPTURE(C);
      CHECK(same);
      if (N == 1000 && C > 1) CHECK(chain_differs);  // a plain sum over all rows is not the same
    }
}

TEST_CASE("sum of rows: 1, 2 and 3 threads give the same bits; no rows leave dw as it was") {
  const int before = threads();
  const auto one = (set_threads(1), sums<float>(777, 301));
  for (const int n : {2, 3}) {
    set_threads(n);
    CHECK(sums<float>(777, 301) == one);
    CHECK(sums<double>(777, 301).size() == 301);
  }
  set_threads(before);
  CHECK(sums<float>(0, 3) == std::vector<float>(3, 0.5F));
}

TEST_CASE("sum of rows: a term that itself sums rows on the same thread keeps its own partial sums") {
  float outer[1] = {};
  kernels::add_sum_of_rows(3, 1, outer, [](i64) {
    float inner[2] = {};
    kernels::add_sum_of_rows(200, 2, inner, [](i64) { return [](i64) { return 1.0F; }; });
    return [x = inner[0]](i64) { return x; };
  });
  CHECK(outer[0] == 600);
}

}  // namespace
