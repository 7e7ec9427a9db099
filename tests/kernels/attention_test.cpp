#include "kernels/attention.h"

#include <doctest/doctest.h>

#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"

using namespace ov;
using kernels::SegmentRow;
using kernels::Segments;
using kernels::SegmentTable;

namespace {

template <class T>
Tensor random(const Shape& shape, std::uint64_t seed, double scale = 1) {
  const Philox numbers(seed, "attention test");
  const Tensor t(shape, dtype_of<T>(), cpu());
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.data<T>()[i] = static_cast<T>(scale * numbers.normal(static_cast<std::uint64_t>(i)));
  return t;
}

struct Result {
  Tensor o, lse;
};

Result attend(const Tensor& q, const Tensor& k, const Tensor& v, const SegmentTable& segments, bool causal,
              double scale) {
  Result r{Tensor::like(q), Tensor({q.dim(0), q.dim(1)}, q.dtype(), cpu())};
  kernels::attention_forward({.o = r.o,
                              .lse = r.lse,
                              .q = q,
                              .k = k,
                              .v = v,
                              .segments = Segments(segments, q.dim(0), k.dim(0), causal, cpu()).rows,
                              .causal = causal,
                              .scale = scale});
  return r;
}

// The definition, in long double, one query at a time.
double largest_error(const Result& got, const Tensor& q, const Tensor& k, const Tensor& v, const SegmentTable& table,
                     bool causal, double scale) {
  const std::int64_t H = q.dim(1), D = q.dim(2), group = H / k.dim(1);
  double worst = 0;
  for (const SegmentRow& r : table)
    for (std::int64_t i = 0; i < r.q_length; ++i)
      for (std::int64_t h = 0; h < H; ++h) {
        std::vector<std::int64_t> keys;
        if (r.prefix >= 0)
          for (std::int64_t j = 0; j < table[static_cast<std::size_t>(r.prefix)].k_length; ++j)
            keys.push_back(table[static_cast<std::size_t>(r.prefix)].k_begin + j);
        const std::int64_t own = causal ? r.k_length - r.q_length + i + 1 : r.k_length;
        for (std::int64_t j = 0; j < own; ++j) keys.push_back(r.k_begin + j);
        std::vector<long double> p;
        long double total = 0;
        for (std::int64_t j : keys) {
          long double s = 0;
          for (std::int64_t d = 0; d < D; ++d)
            s += static_cast<long double>(q.row<double>((r.q_begin + i) * H + h)[d]) *
                 k.row<double>(j * k.dim(1) + h / group)[d];
          p.push_back(std::exp(s * scale));
          total += p.back();
        }
        for (std::int64_t d = 0; d < D; ++d) {
          long double o = 0;
          for (std::size_t j = 0; j < keys.size(); ++j)
            o += p[j] / total * v.row<double>(keys[j] * v.dim(1) + h / group)[d];
          worst = std::max(worst, std::abs(static_cast<double>(o - got.o.row<double>((r.q_begin + i) * H + h)[d])));
        }
        worst = std::max(worst, std::abs(static_cast<double>(std::log(total)) - got.lse.row<double>(r.q_begin + i)[h]));
      }
  return worst;
}

bool same_rows(const Tensor& a, std::int64_t a0, const Tensor& b, std::int64_t b0, std::int64_t n) {
  const auto x = a.slice(0, a0, a0 + n).to_vector<float>(), y = b.slice(0, b0, b0 + n).to_vector<float>();
  return std::memcmp(x.data(), y.data(), x.size() * 4) == 0;
}

}  // namespace

TEST_CASE("attention is its definition: full, causal, prefixes, cached keys, lengths around the block and tile of 64") {
  for (const std::int64_t n : {1, 2, 63, 64, 65, 131}) {
    const SegmentTable one = {{0, n, 0, n}}, two = {{0, 3, 0, 3}, {3, n, 3, n}},
                       branches = {{0, n, 0, n}, {n, 5, n, 5, 0}, {n + 5, 66, n + 5, 66, 0}};
    const SegmentTable cached = {{0, 2, 0, n + 2}};
    const auto check = [&](const SegmentTable& t, std::int64_t queries, std::int64_t keys, bool causal) {
      const Tensor q = random<double>({queries, 4, 8}, 1), k = random<double>({keys, 2, 8}, 2),
                   v = random<double>({keys, 2, 8}, 3);
      const Result r = attend(q, k, v, t, causal, 0.3);
      CHECK(largest_error(r, q, k, v, t, causal, 0.3) < 1e-13);
      CHECK(largest_error(r, q, k, v, t, causal, 0.31) > 1e-6 * (n > 1));  // the twin: another scale is noticed
    };
    check(one, n, n, false);
    check(one, n, n, true);
    check(two, n + 3, n + 3, false);
    check(two, n + 3, n + 3, true);
    check(branches, n + 71, n + 71, true);
    check(cached, 2, n + 2, true);
  }
}

TEST_CASE("attention: a query's bits do not depend on the pack, the tile, the cache, or a prefix being shared") {
  const std::int64_t prefix = 70, n = 90, D = 16;
  const Tensor q = random<float>({prefix + n, 4, D}, 4), k = random<float>({prefix + n, 2, D}, 5),
               v = random<float>({prefix + n, 2, D}, 6);
  const Result whole = attend(q, k, v, {{0, prefix + n, 0, prefix + n}}, true, 0.25);

  SUBCASE("packed behind another segment") {
    const auto behind = [&](const Tensor& x, std::uint64_t seed) {
      const Tensor all({37 + prefix + n, x.dim(1), D}, Dtype::f32, cpu());
      all.slice(0, 0, 37).copy_from(random<float>({37, x.dim(1), D}, seed));
      all.slice(0, 37, 37 + prefix + n).copy_from(x);
      return all;
    };
    const Result r = attend(behind(q, 7), behind(k, 8), behind(v, 9),
                            {{0, 37, 0, 37}, {37, prefix + n, 37, prefix + n}}, true, 0.25);
    CHECK(same_rows(whole.o, 0, r.o, 37, prefix + n));
    CHECK(same_rows(whole.lse, 0, r.lse, 37, prefix + n));
  }
  SUBCASE("one query at a time against cached keys") {
    for (std::int64_t t : {0, 1, 63, 64, 100, 159}) {
      const Result r =
          attend(q.slice(0, t, t + 1), k.slice(0, 0, t + 1), v.slice(0, 0, t + 1), {{0, 1, 0, t + 1}}, true, 0.25);
      CHECK(same_rows(whole.o, t, r.o, 0, 1));
    }
  }
  SUBCASE("the first part as a shared prefix") {
    const Result r =
        attend(q, k, v, {{0, prefix, 0, prefix}, {prefix, 50, prefix, 50, 0}, {prefix + 50, 40, prefix + 50, 40, 0}},
               true, 0.25);
    CHECK(same_rows(whole.o, 0, r.o, 0, prefix + 50));
    CHECK_FALSE(same_rows(whole.o, prefix + 50, r.o, prefix + 50, 40));  // the second branch does not see the first
    // The second branch alone, with the prefix repeated in front of it.
    const auto repeated = [&](const Tensor& x) {
      const Tensor all({prefix + 40, x.dim(1), D}, Dtype::f32, cpu());
      all.slice(0, 0, prefix).copy_from(x.slice(0, 0, prefix));
      all.slice(0, prefix, prefix + 40).copy_from(x.slice(0, prefix + 50, prefix + 90));
      return all;
    };
    const Result alone = attend(repeated(q), repeated(k), repeated(v), {{0, prefix + 40, 0, prefix + 40}}, true, 0.25);
    CHECK(same_rows(alone.o, prefix, r.o, prefix + 50, 40));
  }
  SUBCASE("threads") {
    const int before = threads();
    for (int t : {1, 2, 3}) {
      set_threads(t);
      const Result r = attend(q, k, v, {{0, prefix + n, 0, prefix + n}}, true, 0.25);
      CHECK(same_rows(whole.o, 0, r.o, 0, prefix + n));
    }
    set_threads(before);
  }
}

TEST_CASE("attention: the gradient into a shared prefix is the sum over the samples with the prefix repeated") {
  const std::int64_t P = 66, A = 5, B = 70, D = 8, N = P + A + B;
  const Tensor q = random<double>({N, 4, D}, 11), k = random<double>({N, 2, D}, 12), v = random<double>({N, 2, D}, 13);
  const Tensor d_o = random<double>({N, 4, D}, 14);
  const auto gradients = [&](const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& d_o,
                             const SegmentTable& t) {
    const Result r = attend(q, k, v, t, true, 0.3);
    std::vector<Tensor> d = {Tensor::like(q), Tensor::like(k), Tensor::like(v)};
    kernels::attention_backward({.dq = d[0],
                                 .dk = d[1],
                                 .dv = d[2],
                                 .d_o = d_o,
                                 .q = q,
                                 .k = k,
                                 .v = v,
                                 .o = r.o,
                                 .lse = r.lse,
                                 .segments = Segments(t, q.dim(0), k.dim(0), true, cpu()).rows,
                                 .causal = true,
                                 .scale = 0.3});
    return d;
  };
  const auto shared = gradients(q, k, v, d_o, {{0, P, 0, P}, {P, A, P, A, 0}, {P + A, B, P + A, B, 0}});
  // Three samples: the prefix alone with its own output gradient, and each branch behind a prefix without one.
  const auto take = [&](const Tensor& x, std::int64_t begin, std::int64_t length, bool silent_prefix) {
    const Tensor all = Tensor::zeros({P + length, x.dim(1), D}, Dtype::f64, cpu());
    if (!silent_prefix) all.slice(0, 0, P).copy_from(x.slice(0, 0, P));
    all.slice(0, P, P + length).copy_from(x.slice(0, begin, begin + length));
    return all;
  };
  const auto alone = gradients(take(q, P, 0, false), take(k, P, 0, false), take(v, P, 0, false), take(d_o, P, 0, false),
                               {{0, P, 0, P}});
  std::vector<std::vector<Tensor>> branch;
  for (auto [begin, length] : {std::pair{P, A}, std::pair{P + A, B}})
    branch.push_back(gradients(take(q, begin, length, false), take(k, begin, length, false),
                               take(v, begin, length, false), take(d_o, begin, length, true),
                               {{0, P + length, 0, P + length}}));
  double worst = 0, missing = 0;
  for (std::size_t x = 0; x < 3; ++x) {
    const auto s = shared[x].to_vector<double>(), a = alone[x].to_vector<double>(),
               b0 = branch[0][x].to_vector<double>(), b1 = branch[1][x].to_vector<double>();
    const std::size_t width = s.size() / static_cast<std::size_t>(N);
    for (std::size_t i = 0; i < static_cast<std::size_t>(P) * width; ++i) {
      worst = std::max(worst, std::abs(s[i] - (a[i] + b0[i] + b1[i])));
      missing = std::max(missing, std::abs(s[i] - (a[i] + b0[i])));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(A) * width; ++i)
      worst = std::max(
          worst, std::abs(s[static_cast<std::size_t>(P) * width + i] - b0[static_cast<std::size_t>(P) * width + i]));
  }
  CHECK(worst < 1e-13);
  CHECK(missing > 1e-3);  // the twin: one branch left out is noticed
}

TEST_CASE("attention: rows of no segment give zeros, and tables that do not fit are refused by name") {
  const Tensor q = random<float>({6, 2, 4}, 1), k = random<float>({6, 1, 4}, 2);
  const Result r = attend(q, k, k, {{0, 2, 0, 2}, {3, 2, 3, 2}}, true, 1);
  for (std::int64_t t : {2, 5})
    for (float x : r.o.slice(0, t, t + 1).to_vector<float>()) CHECK(x == 0);
  CHECK_THROWS_WITH_AS(attend(q, k, k, {{0, 7, 0, 6}}, false, 1), "segment 0: queries outside of 6 rows", Error);
  CHECK_THROWS_WITH_AS(attend(q, k, k, {{0, 2, 0, 2, 0}}, true, 1), "segment 0: prefix 0 does not come before it",
                       Error);
}
