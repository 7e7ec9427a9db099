// Attention on tensor cores against its definition in f64, within what its roundings to bf16 can do.
#include <doctest/doctest.h>

#include "kernels/gpu/scratch.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/cuda_attention.h"

using namespace ov;
using namespace ov::test;

namespace {

AttentionForward forward_arguments;  // of the last run, for the reference
AttentionBackward backward_arguments;

AttentionResult on_tensor_cores(const AttentionCase& c, std::int64_t H, std::int64_t K, std::int64_t D,
                                Device& device = sim_device()) {
  return attend_on(
      device, Dtype::bf16, c, H, K, D,
      [](const AttentionForward& a) {
        REQUIRE(fits_tensor_cores(a));
        kernels::attention_forward(forward_arguments = a);
      },
      [](const AttentionBackward& a) {
        REQUIRE(fits_tensor_cores(a));
        kernels::attention_backward(backward_arguments = a);
      });
}

// An array, and the most that each of its numbers may be off by.
struct Bounded {
  std::vector<double> value, error;
  explicit Bounded(const Tensor& t) : value(static_cast<std::size_t>(t.numel())), error(value) {}
  void add(std::size_t i, double x, double off) { value[i] += x, error[i] += off; }
};

std::vector<double> numbers(const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); }

// The largest error as a share of its bound. With e a pair's relative error of p, from its score and lse in f32:
//   o   p is rounded to bf16, o is rounded: 2^-8 Σ p|v| each; every p may be off by e
//   lse e of the largest score, one rounding
//   dv  as o, with do for v
//   dq  ds is rounded to bf16, dq is rounded: 2^-8 Σ|ds||k| each; ds = p (dp - δ) is off by e of itself, and by p times
//   dk  what the two f32 sums dp and δ of D terms are off by
// The reference backward takes the o and lse that the kernel had.
double worst_share(const AttentionCase& c, const AttentionResult& got, double wrong_scale = 1) {
  const AttentionBackward& a = backward_arguments;
  const std::int64_t H = a.q.dim(1), D = a.q.dim(2), K = a.k.dim(1), group = H / K;
  const auto q = numbers(a.q), k = numbers(a.k), v = numbers(a.v), d_o = numbers(a.d_o), o = numbers(a.o),
             lse = numbers(a.lse);
  Bounded of_o(got.o), of_lse(got.lse), of_dq(got.dq), of_dk(got.dk), of_dv(got.dv);
  const double scale = a.scale * wrong_scale, unit = 0x1p-24, half = 0x1p-8;  // of f32, of bf16: half the spacing at 1
  for (const kernels::SegmentRow& r : c.table)
    for (std::int64_t i = 0; i < r.q_length; ++i)
      for (std::int64_t h = 0; h < H; ++h) {
        std::vector<std::int64_t> seen;
        if (r.prefix >= 0)
          for (std::int64_t j = 0; j < c.table[static_cast<std::size_t>(r.prefix)].k_length; ++j)
            seen.push_back(c.table[static_cast<std::size_t>(r.prefix)].k_begin + j);
        for (std::int64_t j = 0; j < (c.causal ? r.k_length - r.q_length + i + 1 : r.k_length); ++j)
          seen.push_back(r.k_begin + j);
        const std::int64_t row = (r.q_begin + i) * H + h;
        const auto at = [&](const std::vector<double>& x, std::int64_t row, std::int64_t d) {
          return x[static_cast<std::size_t>(row * D + d)];
        };
        const auto key = [&](std::int64_t j) { return j * K + h / group; };
        std::vector<double> s, e;
        double total = 0, largest_e = 0, delta = 0, delta_size = 0;
        for (const std::int64_t j : seen) {
          double dot = 0, size = 0;
          for (std::int64_t d = 0; d < D; ++d) {
            dot += at(q, row, d) * at(k, key(j), d);
            size += std::abs(at(q, row, d) * at(k, key(j), d));
          }
          s.push_back(scale * dot), total += std::exp(s.back());
          e.push_back(
              2 * unit *
              (static_cast<double>(D + 4) * std::abs(scale) * size + std::abs(lse[static_cast<std::size_t>(row)]) + 8));
          largest_e = std::max(largest_e, e.back());
        }
        of_lse.add(static_cast<std::size_t>(row), std::log(total), 2 * largest_e + unit * std::abs(std::log(total)));
        for (std::int64_t d = 0; d < D; ++d) {
          delta += at(d_o, row, d) * at(o, row, d);
          delta_size += std::abs(at(d_o, row, d) * at(o, row, d));
        }
        for (std::size_t n = 0; n < seen.size(); ++n) {
          const double forward_p = std::exp(s[n]) / total, p = std::exp(s[n] - lse[static_cast<std::size_t>(row)]);
          double dp = 0, dp_size = delta_size;
          for (std::int64_t d = 0; d < D; ++d) {
            dp += at(d_o, row, d) * at(v, key(seen[n]), d);
            dp_size += std::abs(at(d_o, row, d) * at(v, key(seen[n]), d));
          }
          const double ds = scale * p * (dp - delta);
          const double ds_off =
              (2 * half + 2 * e[n]) * std::abs(ds) + std::abs(scale) * p * 2 * unit * static_cast<double>(D) * dp_size;
          for (std::int64_t d = 0; d < D; ++d) {
            const auto to = static_cast<std::size_t>(row * D + d);
            const auto to_key = static_cast<std::size_t>(key(seen[n]) * D + d);
            const double vd = at(v, key(seen[n]), d), dod = at(d_o, row, d), kd = at(k, key(seen[n]), d),
                         qd = at(q, row, d);
            of_o.add(to, forward_p * vd, (2 * half + 4 * largest_e) * forward_p * std::abs(vd));
            of_dv.add(to_key, p * dod, (2 * half + 2 * e[n]) * p * std::abs(dod));
            of_dq.add(to, ds * kd, ds_off * std::abs(kd));
            of_dk.add(to_key, ds * qd, ds_off * std::abs(qd));
          }
        }
      }
  double worst = 0;
  for (const auto& [tensor, bounded] : {std::pair<const Tensor&, const Bounded&>{got.o, of_o},
                                        {got.lse, of_lse},
                                        {got.dq, of_dq},
                                        {got.dk, of_dk},
                                        {got.dv, of_dv}}) {
    const auto x = numbers(tensor);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double off = std::abs(x[i] - bounded.value[i]);
      const double share = std::isnan(off) ? INFINITY : off == 0 ? 0 : off / (bounded.error[i] + 0x1p-133);
      worst = std::max(worst, share);
    }
  }
  return worst;
}

}  // namespace

TEST_CASE(
    "attention on tensor cores: every kind of segment within derived bounds, the same bits in every order (G-24, "
    "G-51)") {
  for (const AttentionCase& c : attention_cases) {
    CAPTURE(c.name);
    const AttentionResult forward = on_tensor_cores(c, 6, 2, 32);
    CHECK(worst_share(c, forward) <= 1);
    CHECK(worst_share(c, forward, 1.1) > 1);  // another scale is noticed
    for (const sim::Schedule s : {sim::Schedule{sim::Order::reverse, 0}, {sim::Order::random, 1}}) {
      const sim::ScheduleScope scope(s);
      check_same(on_tensor_cores(c, 6, 2, 32), forward);
    }
  }
}

TEST_CASE("attention on tensor cores: over several spans of keys, too, by tiles and by a block a span") {
  const AttentionCase tiles{"tiles", {{0, 40, 0, 1100}, {40, 30, 1100, 530}}, 70, 1630, true};
  const AttentionCase spans{"spans", {{0, 2, 0, 530}, {2, 1, 530, 1100}, {3, 8, 1630, 520}}, 11, 2150, true};
  for (const AttentionCase& c : {tiles, spans}) {
    CAPTURE(c.name);
    const AttentionResult got = on_tensor_cores(c, 2, 1, 16);
    CHECK(worst_share(c, got) <= 1);
    CHECK(worst_share(c, got, 1.1) > 1);
  }
}

TEST_CASE("attention on tensor cores: heads of 16, 64 and 128 numbers, one and many heads on a key head") {
  for (const std::int64_t D : {16, 64, 128}) {
    CAPTURE(D);
    const AttentionCase& c = attention_cases[D == 64 ? 5 : 2];
    CHECK(worst_share(c, on_tensor_cores(c, 2, 2, D)) <= 1);
    CHECK(worst_share(c, on_tensor_cores(c, 3, 1, D)) <= 1);
  }
}

TEST_CASE("attention on tensor cores: a query's bits depend neither on the pack nor on a prefix being shared (G-38)") {
  const std::int64_t D = 16, n = 90;
  const AttentionCase alone{"alone", {{0, n, 0, n}}, n, n, true};
  const AttentionCase packed{"packed", {{0, 70, 0, 70}, {70, n - 70, 70, n - 70, 0}}, n, n, true};
  const AttentionResult a = on_tensor_cores(alone, 2, 1, D), b = on_tensor_cores(packed, 2, 1, D);
  CHECK(same_bits(a.o, b.o));
  CHECK(same_bits(a.lse, b.lse));
  CHECK(same_bits(a.dq, b.dq));
  // Behind 40 other rows: the same inputs there, drawn from the same rows.
  const auto behind = [&](const Tensor& x) {
    const Tensor all = Tensor::zeros({40 + n, x.dim(1), D}, Dtype::bf16, x.device());
    all.slice(0, 40, 40 + n).copy_from(x);
    return all;
  };
  AttentionForward f = forward_arguments;
  f.q = behind(f.q), f.k = behind(f.k), f.v = behind(f.v), f.o = Tensor::like(f.q);
  f.lse = unwritten(sim_device(), {40 + n, 2});
  f.segments = kernels::Segments({{0, 40, 0, 40}, {40, n, 40, n}}, 40 + n, 40 + n, true, sim_device()).rows;
  kernels::attention_forward(f);
  CHECK(same_bits(f.o.slice(0, 40, 40 + n), a.o));
  CHECK(same_bits(f.lse.slice(0, 40, 40 + n), a.lse));
}

TEST_CASE("attention on tensor cores: the same bits when everything runs late, on memory the host cannot touch") {
  const AttentionCase& c = attention_cases[5];
  const AttentionResult expected = on_tensor_cores(c, 2, 1, 32);
  for (const auto policy : {SimDevice::Policy::lazy, SimDevice::Policy::random}) {
    SimDevice device(policy, 1);
    check_same(on_tensor_cores(c, 2, 1, 32, device), expected);
    forward_arguments = {}, backward_arguments = {};  // their tensors, before the device ends
  }
}

TEST_CASE("attention on tensor cores: what does not fit them goes to the plain kernels") {
  AttentionForward f;
  on_tensor_cores(attention_cases[0], 2, 1, 16);
  f = forward_arguments;
  f.scale = -1;
  CHECK_FALSE(fits_tensor_cores(f));
  f = forward_arguments;
  const Tensor wide = Tensor::zeros({f.q.dim(0), 2, 17}, Dtype::bf16, sim_device());
  f.q = wide.slice(2, 0, 16);  // rows that do not begin at multiples of 16 bytes
  CHECK_FALSE(fits_tensor_cores(f));
  kernels::attention_forward(f);
  for (const float x : numbers(f.lse)) CHECK(std::isfinite(x));
}
