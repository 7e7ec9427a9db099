#include <algorithm>

#include "autograd/ops.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/registry.h"
#include "base/math.h"
#include "base/sum.h"
#include "kernels/cross_entropy.h"

namespace ov {
namespace {

// What the ranks know of their parts, as of one row of logits. parts [R,N,3]: m, s and z_target - m of each; lse [N,2],
// token_loss [N] and loss [1] as kernels/cross_entropy.h has them. Three numbers a row: the host's to join.
template <class A>
void join(const Tensor& parts, const std::vector<std::int64_t>& owner, const Tensor& weights, double denominator,
          const Tensor& lse, const Tensor& token_loss, const Tensor& loss) {
  const std::int64_t R = parts.dim(0), N = parts.dim(1);
  const A *p = parts.data<A>(), *w = weights.data<A>();
  const auto at = [&](std::int64_t r, std::int64_t n) { return p + (r * N + n) * 3; };
  for (std::int64_t n = 0; n < N; ++n) {
    A *to = lse.data<A>() + 2 * n, &ce = token_loss.data<A>()[n];
    to[0] = to[1] = ce = 0;
    if (w[n] == 0) continue;
    to[0] = at(0, n)[0];
    for (std::int64_t r = 1; r < R; ++r) to[0] = std::max(to[0], at(r, n)[0]);
    to[1] = math::log(sum<A>(R, [&](std::int64_t r) { return math::exp((at(r, n)[0] - to[0]) + at(r, n)[1]); }));
    const A* own = at(owner[static_cast<std::size_t>(n)], n);
    ce = to[1] - (own[2] + (own[0] - to[0]));
  }
  loss.data<A>()[0] = denominator == 0 ? A(0) : dot<A>(N, w, token_loss.data<A>()) / A(denominator);
}

// Zeros of a tensor without memory, at which nobody looks.
template <class T>
std::vector<T> values_of(const Tensor& t) {
  return t.has_data() ? t.to_vector<T>() : std::vector<T>(static_cast<std::size_t>(t.numel()));
}

}  // namespace

// Forward every rank has m and s of its columns and, where the target is among them, z_target - m; 3 numbers a row are
// gathered. Backward every rank makes the gradient of its own columns, and nothing is sent.
CrossEntropy vocabulary_cross_entropy(const Var& logits, const Tensor& targets, const Tensor& weights,
                                      double denominator, Communicator& ranks) {
  const Tensor& z = logits.value;
  const auto [N, V] = z.dims<2>();
  Device& device = z.device();
  const Dtype wide = accum_dtype(z.dtype());
  std::vector<std::int64_t> target = values_of<std::int64_t>(targets), owner, here, elsewhere;
  for (const std::int64_t t : target) {
    if (t < 0 || t >= V * ranks.ranks())
      input_error("vocabulary_cross_entropy: target ", t, ", outside of [0, ", V * ranks.ranks(), ")");
    owner.push_back(t / V);
    const bool own = t / V == ranks.rank();
    here.push_back(own ? t % V : 0), elsewhere.push_back(own ? t % V : -1);
  }
  Tensor loss({1}, wide, device), token_loss({N}, wide, device), lse({N, 2}, wide, device);
  kernels::cross_entropy_forward({.loss = loss,
                                  .token_loss = token_loss,
                                  .lse = lse,
                                  .logits = z,
                                  .targets = Tensor::of(here, {N}, device),
                                  .weights = weights,
                                  .denominator = denominator});
  const Tensor parts({ranks.ranks(), N, 3}, wide, cpu());
  by_dtype(wide, [&, N = N](auto a) {
    using A = Accum<decltype(a)>;
    const auto ms = values_of<A>(lse), ce = values_of<A>(token_loss);
    A* own = parts.data<A>() + ranks.rank() * N * 3;
    for (std::int64_t n = 0; n < N; ++n) {
      const auto i = static_cast<std::size_t>(n);
      own[3 * n] = ms[2 * i], own[3 * n + 1] = ms[2 * i + 1], own[3 * n + 2] = ms[2 * i + 1] - ce[i];
    }
  });
  Parts by_rank;
  for (int r = 0; r < ranks.ranks(); ++r) by_rank.push_back(parts.slice(0, r, r + 1));
  ranks.all_gather(by_rank);
  const Tensor joined_loss({1}, wide, cpu()), joined_ce({N}, wide, cpu()), joined_lse({N, 2}, wide, cpu());
  if (z.has_data())
    by_dtype(wide, [&](auto a) {
      join<Accum<decltype(a)>>(parts, owner, weights.to(cpu()), denominator, joined_lse, joined_ce, joined_loss);
    });
  loss = joined_loss.to(device), token_loss = joined_ce.to(device), lse = joined_lse.to(device);

  return {record_cross_entropy(Op::vocabulary_cross_entropy, logits, loss, Tensor::of(elsewhere, {N}, device), weights,
                               lse, denominator),
          token_loss};
}

extern const OpRow vocabulary_cross_entropy_row;
const OpRow vocabulary_cross_entropy_row = {
    .op = Op::vocabulary_cross_entropy,
    .name = "vocabulary_cross_entropy",
    .example = [](Example& e) -> std::vector<Var> {
      // Targets in every part; row 2 has weight 0, row 3 pushes its token away.
      const std::int64_t N = e.size(5), V = e.size(4), all = V * e.ranks().ranks();
      std::vector<double> weights(static_cast<std::size_t>(N), 0.75);
      std::vector<std::int64_t> targets;
      for (std::int64_t n = 0; n < N; ++n) targets.push_back((all - 1) * (n + 1) % all);
      if (N > 2) weights[2] = 0;
      if (N > 3) weights[3] = -0.5;
      return {
          vocabulary_cross_entropy(e.input({N, V}), e.integers(targets, {N}), e.numbers(weights, {N}), 2.5, e.ranks())
              .loss};
    },
    .tolerance = 1e-8,
    .cost = moved_once_with_exp,
};

}  // namespace ov
