#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/parallel.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_wide.h"
#include "kernels/cpu/peak.h"
#include "tests/check.h"

namespace {

using namespace ov;
using namespace ov::test;
using kernels::Gemm;
using kernels::cpu::gemm_block_k;
using kernels::cpu::gemm_parallel;
using kernels::cpu::gemm_serial;
using kernels::cpu::Product;
using i64 = std::int64_t;

template <class T>
std::vector<T> random_values(i64 n, unsigned seed) {
  std::mt19937 g(seed);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (T& x : v) x = static_cast<T>(static_cast<double>(g()) / 2147483648.0 - 1);
  return v;
}

// Matrices of a given shape with room around the rows, so that a stride is not a width.
template <class T>
struct Problem {
  i64 M, N, K;
  bool trans_a, trans_b;
  i64 a_stride, b_stride, c_stride;
  std::vector<T> a, b, c, bias;

  Problem(i64 M, i64 N, i64 K, bool trans_a, bool trans_b, i64 gap = 3)
      : M(M),
        N(N),
        K(K),
        trans_a(trans_a),
        trans_b(trans_b),
        a_stride((trans_a ? M : K) + gap),
        b_stride((trans_b ? K : N) + gap),
        c_stride(N + gap),
        a(random_values<T>((trans_a ? K : M) * a_stride, 1)),
        b(random_values<T>((trans_b ? N : K) * b_stride, 2)),
        c(random_values<T>(M * c_stride, 3)),
        bias(random_values<T>(N, 4)) {}

  T a_at(i64 m, i64 k) const { return a[static_cast<std::size_t>(trans_a ? k * a_stride + m : m * a_stride + k)]; }
  T b_at(i64 k, i64 n) const { return b[static_cast<std::size_t>(trans_b ? n * b_stride + k : k * b_stride + n)]; }
  T c_at(i64 m, i64 n) const { return c[static_cast<std::size_t>(m * c_stride + n)]; }
  Product<T> product(std::vector<T>& to, bool accumulate, bool with_bias) const {
    return {.M = M,
            .N = N,
            .K = K,
            .a = a.data(),
            .a_row = trans_a ? 1 : a_stride,
            .a_col = trans_a ? a_stride : 1,
            .b = b.data(),
            .b_row = trans_b ? 1 : b_stride,
            .b_col = trans_b ? b_stride : 1,
            .c = to.data(),
            .c_row = c_stride,
            .accumulate = accumulate,
            .bias = with_bias ? bias.data() : nullptr};
  }
  // The sum as the contract writes it; `reversed` runs over k backwards inside a block, the mistake that must be seen.
  T by_definition(i64 m, i64 n, bool accumulate, bool with_bias, bool reversed = false) const {
    T c = accumulate ? c_at(m, n) : T(0);
    for (i64 k0 = 0; k0 < K; k0 += gemm_block_k) {
      const i64 k1 = std::min(k0 + gemm_block_k, K);
      T s = 0;
      for (i64 k = k0; k < k1; ++k) {
        const i64 at = reversed ? k0 + k1 - 1 - k : k;
        s = std::fma(a_at(m, at), b_at(at, n), s);
      }
      c = k0 == 0 && !accumulate ? s : c + s;
    }
    return with_bias ? c + bias[static_cast<std::size_t>(n)] : c;
  }
};

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

template <class T>
std::vector<T> expected(const Problem<T>& p, bool accumulate, bool with_bias, bool reversed = false) {
  std::vector<T> c = p.c;
  for (i64 m = 0; m < p.M; ++m)
    for (i64 n = 0; n < p.N; ++n)
      c[static_cast<std::size_t>(m * p.c_stride + n)] = p.by_definition(m, n, accumulate, with_bias, reversed);
  return c;
}

// In 512-bit vectors, where this processor has them, and without: the same bits.
template <class T>
std::vector<T> computed(const Problem<T>& p, bool accumulate, bool with_bias) {
  std::vector<T> c = p.c, narrow = p.c;
  gemm_parallel(p.product(c, accumulate, with_bias));
  kernels::cpu::allow_wide_vectors(false);
  gemm_parallel(p.product(narrow, accumulate, with_bias));
  kernels::cpu::allow_wide_vectors(true);
  CHECK(same_bits(c, narrow));
  return c;
}

template <class T>
void check_definition(i64 M, i64 N, i64 K) {
  for (const bool trans_a : {false, true})
    for (const bool trans_b : {false, true})
      for (const bool accumulate : {false, true}) {
        const Problem<T> p(M, N, K, trans_a, trans_b);
        const bool with_bias = (M + N) % 2 == 0;
        CAPTURE(M);
        CAPTURE(N);
        CAPTURE(K);
        CAPTURE(trans_a);
        CAPTURE(trans_b);
        CAPTURE(accumulate);
        CHECK(same_bits(computed(p, accumulate, with_bias), expected(p, accumulate, with_bias)));
      }
}

TEST_CASE("gemm: every element is the one chain of the contract, bit for bit, at sizes around every tile edge") {
  const i64 edge[] = {1, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 25, 31};
  for (const i64 m : edge)
    for (const i64 n : edge) {
      check_definition<float>(m, n, 13);
      check_definition<double>(m, n, 9);
    }
  for (const i64 k : {1, 2, 7, 8, 15, 16, 17, 40, 383, 384, 385, 769}) {
    check_definition<float>(7, 33, k);
    check_definition<double>(7, 17, k);
    for (const i64 n : {1, 7, 8, 9, 15, 16, 17, 71}) check_definition<float>(1, n, k);  // a path of its own
    check_definition<double>(1, 21, k);
  }
  const int before = threads();
  set_threads(1);                          // several would cut a product into parts too small to be packed
  check_definition<float>(131, 341, 100);  // packed A, packed B
  check_definition<double>(131, 171, 50);
  check_definition<float>(67, 64, 61);     // neither
  check_definition<float>(700, 37, 401);   // several blocks of rows
  check_definition<float>(157, 341, 800);  // blocks of k that are worked on together, and one that is not
  check_definition<double>(85, 171, 800);
  check_definition<float>(7, 3072 + 21, 800);  // several blocks of columns, in wide and narrow vectors
  set_threads(before);
}

TEST_CASE("gemm: a sum in another order does not pass for the same bits") {
  const Problem<float> p(7, 33, 385, false, true);
  const auto c = computed(p, false, false);
  CHECK(same_bits(c, expected(p, false, false)));
  CHECK_FALSE(same_bits(c, expected(p, false, false, true)));
}

TEST_CASE("gemm: a matrix whose rows are multiples of 1 KB apart takes the copying path with the same bits") {
  for (const bool trans_a : {false, true}) {
    const Problem<float> p(trans_a ? 512 : 61, 256, trans_a ? 61 : 512, trans_a, false, 0);
    CHECK(same_bits(computed(p, true, false), expected(p, true, false)));
  }
}

// |fl(Σ a b) - Σ a b| <= γ Σ |a b|, γ = n u / (1 - n u), for a sum of K fused products (Higham 2002, section
// 3.1); n counts the roundings of one term: at most min(K, 384) in its block and one for every block after.
template <class T>
double worst_over_bound(const Problem<T>& p, double wrong_by) {
  const double u = std::numeric_limits<T>::epsilon() / 2;
  const double n = static_cast<double>(std::min(p.K, gemm_block_k) + p.K / gemm_block_k + 1);
  const auto c = computed(p, true, true);
  double worst = 0;
  for (i64 m = 0; m < p.M; ++m)
    for (i64 j = 0; j < p.N; ++j) {
      long double exact = static_cast<long double>(p.c_at(m, j)) + static_cast<long double>(p.bias[std::size_t(j)]);
      long double size =
          std::abs(static_cast<long double>(p.c_at(m, j))) + std::abs((long double)p.bias[std::size_t(j)]);
      for (i64 k = 0; k < p.K; ++k) {
        const long double t = static_cast<long double>(p.a_at(m, k)) * static_cast<long double>(p.b_at(k, j));
        exact += t, size += std::abs(t);
      }
      const double got = static_cast<double>(c[static_cast<std::size_t>(m * p.c_stride + j)]) * (1 + wrong_by);
      const double bound = (n + 2) * u / (1 - (n + 2) * u) * static_cast<double>(size);
      worst = std::max(worst, std::abs(got - static_cast<double>(exact)) / bound);
    }
  return worst;
}

TEST_CASE("gemm: errors stay inside the bound of a rounded sum, and a relative error of 1e-2 (f64: 1e-10) does not") {
  for (const i64 k : {1, 31, 385, 769}) {
    CHECK(worst_over_bound(Problem<float>(17, 31, k, false, true), 0) <= 1);
    CHECK(worst_over_bound(Problem<double>(17, 31, k, true, false), 0) <= 1);
    CHECK(worst_over_bound(Problem<float>(17, 31, k, false, true), 1e-2) > 1);
    CHECK(worst_over_bound(Problem<double>(17, 31, k, true, false), 1e-10) > 1);
  }
}

TEST_CASE("gemm: 1, 2, 3 and 5 threads give the same bits") {
  for (const auto& [M, N, K] : {std::array<i64, 3>{300, 288, 96}, {97, 600, 400}, {1, 1030, 500}, {601, 33, 200}}) {
    const Problem<float> p(M, N, K, false, true);
    const Problem<double> q(M, N, K, true, false);
    std::vector<float> first;
    std::vector<double> first64;
    for (const int n : {1, 2, 3, 5}) {
      const Threads scope(n);
      const auto c = computed(p, true, true);
      const auto d = computed(q, false, true);
      if (n == 1) first = c, first64 = d;
      CHECK(same_bits(c, first));
      CHECK(same_bits(d, first64));
    }
  }
}

TEST_CASE("gemm: rows alone and columns alone have the bits they have in the whole") {
  for (const bool trans_b : {false, true}) {
    const Problem<float> p(150, 350, 500, false, trans_b);
    const auto whole = computed(p, false, true);
    for (const i64 count : {1, 2, 5, 6, 7, 8, 13, 16, 17, 33, 64, 100})
      for (const i64 at : {i64(0), i64(11)}) {
        std::vector<float> rows = p.c, columns = p.c;
        Product<float> r = p.product(rows, false, true);
        r.M = count, r.a += at * r.a_row, r.c += at * r.c_row;
        gemm_serial(r);
        Product<float> s = p.product(columns, false, true);
        s.N = count, s.b += at * s.b_col, s.c += at, s.bias += at;
        gemm_serial(s);
        bool same = true;
        for (i64 m = 0; m < p.M; ++m)
          for (i64 n = 0; n < p.N; ++n) {
            const auto i = static_cast<std::size_t>(m * p.c_stride + n);
            const bool in_rows = m >= at && m < at + count, in_columns = n >= at && n < at + count;
            same = same && rows[i] == (in_rows ? whole[i] : p.c[i]);
            same = same && columns[i] == (in_columns ? whole[i] : p.c[i]);
          }
        CAPTURE(count);
        CHECK(same);
      }
  }
}

TEST_CASE("gemm: empty products: no rows, no columns, and K = 0 gives zero plus bias or leaves C") {
  Problem<float> p(3, 4, 2, false, false);
  std::vector<float> c = p.c;
  for (i64 Product<float>::*size : {&Product<float>::M, &Product<float>::N}) {
    Product<float> q = p.product(c, false, true);
    q.*size = 0;
    gemm_parallel(q);
    CHECK(same_bits(c, p.c));
  }
  Product<float> q = p.product(c, true, false);
  q.K = 0;
  gemm_parallel(q);
  CHECK(same_bits(c, p.c));
  q = p.product(c, false, true), q.K = 0;
  gemm_parallel(q);
  for (std::size_t n = 0; n < 4; ++n) CHECK(c[static_cast<std::size_t>(2 * p.c_stride) + n] == p.bias[n]);
  CHECK(c[4] == p.c[4]);  // the gap behind a row
}

TEST_CASE("gemm: NaN and infinity reach their row and column and no other element") {
  Problem<float> p(20, 37, 50, false, true);
  p.a[static_cast<std::size_t>(13 * p.a_stride + 7)] = std::numeric_limits<float>::quiet_NaN();
  p.b[static_cast<std::size_t>(36 * p.b_stride + 9)] = std::numeric_limits<float>::infinity();
  const auto c = computed(p, false, false);
  for (i64 m = 0; m < p.M; ++m)
    for (i64 n = 0; n < p.N; ++n) {
      const float x = c[static_cast<std::size_t>(m * p.c_stride + n)];
      CHECK(std::isnan(x) == (m == 13));
      CHECK(std::isinf(x) == (n == 36 && m != 13));
    }
}

TEST_CASE("gemm: a linear layer, its dx and its dw through tensors, one of them a slice of a fused one") {
  const i64 N = 9, C = 5, F = 7;
  const Tensor x = Tensor::of(random_values<float>(N * C, 1), {3, 3, C});
  const Tensor wide = Tensor::of(random_values<float>(2 * F * C, 2), {2 * F, C});
  const Tensor w = wide.slice(0, F, 2 * F), b = Tensor::of(random_values<float>(F, 3), {F});
  const Tensor fused = Tensor::zeros({N, 3 * F}, Dtype::f32, cpu());
  const Tensor y = fused.slice(1, F, 2 * F);
  kernels::gemm({.c = y, .a = x, .b = w, .trans_b = true, .bias = b});
  const Tensor dx({N, C}, Dtype::f32, cpu()), dw = Tensor::of(random_values<float>(F * C, 4), {F, C});
  const auto dw_before = dw.to_vector<float>();
  kernels::gemm({.c = dx, .a = y, .b = w});
  kernels::gemm({.c = dw, .a = y, .b = x, .trans_a = true, .accumulate = true});

  for (i64 n = 0; n < N; ++n)
    for (i64 f = 0; f < F; ++f) {
      float s = 0;
      for (i64 c = 0; c < C; ++c) s = std::fma(x.row<float>(n)[c], w.row<float>(f)[c], s);
      CHECK(y.row<float>(n)[f] == s + b.data<float>()[f]);
      CHECK(fused.row<float>(n)[f] == 0);
      CHECK(fused.row<float>(n)[2 * F + f] == 0);
    }
  for (i64 n = 0; n < N; ++n)
    for (i64 c = 0; c < C; ++c) {
      float s = 0;
      for (i64 f = 0; f < F; ++f) s = std::fma(y.row<float>(n)[f], w.row<float>(f)[c], s);
      CHECK(dx.row<float>(n)[c] == s);
    }
  for (i64 f = 0; f < F; ++f)
    for (i64 c = 0; c < C; ++c) {
      float s = 0;
      for (i64 n = 0; n < N; ++n) s = std::fma(y.row<float>(n)[f], x.row<float>(n)[c], s);
      CHECK(dw.row<float>(f)[c] == dw_before[static_cast<std::size_t>(f * C + c)] + s);
    }
}

TEST_CASE("gemm: wrong shapes, dtypes, biases and strides are named before anything is written") {
  const auto message = [](const Gemm& g) { return thrown([&] { kernels::gemm(g); }); };
  const auto t = [](const Shape& s, Dtype d = Dtype::f32) { return Tensor::zeros(s, d, cpu()); };
  CHECK(message({.c = t({2, 3}), .a = t({2, 4}), .b = t({4, 3})}) == "");
  CHECK(message({.c = t({2, 3}), .a = t({2, 4}), .b = t({3, 4})}).find("[3, 4]") != std::string::npos);
  CHECK(message({.c = t({2, 3}), .a = t({2, 4}), .b = t({4, 3}, Dtype::f64)}).find("f64") != std::string::npos);
  CHECK(message({.c = t({2, 3}), .a = t({2, 4}), .b = t({4, 3}), .bias = t({2})}).find("bias") != std::string::npos);
  const Tensor thirds = t({2, 3, 4}).slice(1, 0, 2);
  CHECK(message({.c = t({4, 3}), .a = thirds, .b = t({4, 3})}).find("[2, 2, 4]") != std::string::npos);
}

TEST_CASE("fma_peak_flops: near what a product reaches, measured once, and no rate for zero threads") {
  // A product of this size reaches most of the peak; the best of many short runs, as the peak itself is measured.
  const double peak = kernels::cpu::fma_peak_flops(1);
  const std::int64_t n = 144;
  const Tensor a = Tensor::zeros({n, n}, Dtype::f32, cpu()), c = Tensor::like(a);
  const Threads one(1);
  double best = 0;
  for (int i = 0; i < 300; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kernels::gemm({.c = c, .a = a, .b = a});
    const double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, 2.0 * static_cast<double>(n * n * n) / t);
  }
  CHECK(peak > best / 2);
  CHECK(peak < 6 * best);
  CHECK(kernels::cpu::fma_peak_flops(1) == peak);
  CHECK_THROWS_AS(kernels::cpu::fma_peak_flops(0), Error);
}

}  // namespace
