#include "parallel/classes.h"

#include <algorithm>
#include <bit>

#include "base/math.h"
#include "base/sum.h"

namespace ov {

std::int64_t ClassBlocks::each() const {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>((blocks + ranks - 1) / ranks)));
}

Range ClassBlocks::of_rank(int rank) const {
  const std::int64_t e = each();
  return {std::min(blocks, rank * e), std::min(blocks, (rank + 1) * e)};
}

namespace {

// log(1 + Σ_b P_b) from a_b = log(1 + P_b), with M the largest:  M + log(exp(-M) + Σ_b (exp(a_b - M) - exp(-M)))
template <class A, class F>
A log_one_plus(std::int64_t B, F&& a) {
  if (B == 1) return a(0);
  A most = a(0);
  for (std::int64_t b = 1; b < B; ++b) most = std::max(most, a(b));
  const A one = math::exp(-most);
  return most + math::log(one + sum<A>(B, [&](std::int64_t b) { return math::exp(a(b) - most) - one; }));
}

template <class A>
A weighted(const std::vector<A>& row_loss, const Tensor& weights, double denominator) {
  const auto R = static_cast<std::int64_t>(row_loss.size());
  return denominator == 0 ? A(0) : dot<A>(R, weights.data<A>(), row_loss.data()) / A(denominator);
}

}  // namespace

JoinedLoss joined_cluster_loss(const Tensor& parts, const Tensor& weights, double denominator) {
  const std::int64_t B = parts.dim(0), R = parts.dim(1);
  const JoinedLoss joined{Tensor({R, 2}, parts.dtype(), cpu()), Tensor({1}, parts.dtype(), cpu())};
  by_dtype(parts.dtype(), [&](auto v) {
    using A = Accum<decltype(v)>;
    const A* p = parts.data<A>();
    std::vector<A> row_loss(static_cast<std::size_t>(R));
    for (std::int64_t r = 0; r < R; ++r) {
      A* to = joined.lse.row<A>(r);
      for (int i = 0; i < 2; ++i) to[i] = log_one_plus<A>(B, [&](std::int64_t b) { return p[(b * R + r) * 2 + i]; });
      row_loss[static_cast<std::size_t>(r)] = to[0] + to[1];
    }
    joined.loss.data<A>()[0] = weighted(row_loss, weights, denominator);
  });
  return joined;
}

JoinedLoss joined_cross_entropy(const Tensor& parts, const std::vector<std::int64_t>& owner, const Tensor& weights,
                                double denominator) {
  const std::int64_t B = parts.dim(0), R = parts.dim(1);
  const JoinedLoss joined{Tensor({R, 2}, parts.dtype(), cpu()), Tensor({1}, parts.dtype(), cpu())};
  by_dtype(parts.dtype(), [&](auto v) {
    using A = Accum<decltype(v)>;
    std::vector<A> row_loss(static_cast<std::size_t>(R));
    for (std::int64_t r = 0; r < R; ++r) {
      const auto at = [&](std::int64_t b) { return parts.data<A>() + (b * R + r) * 3; };
      A* to = joined.lse.row<A>(r);
      const A* own = at(owner[static_cast<std::size_t>(r)]);
      to[0] = own[0], to[1] = own[1];
      if (B > 1) {
        for (std::int64_t b = 0; b < B; ++b) to[0] = std::max(to[0], at(b)[0]);
        to[1] = math::log(sum<A>(B, [&](std::int64_t b) { return math::exp((at(b)[0] - to[0]) + at(b)[1]); }));
      }
      // The label's logit is m + s - ce of its block.
      row_loss[static_cast<std::size_t>(r)] = B == 1 ? own[2] : (to[1] - own[1]) + (to[0] - own[0]) + own[2];
    }
    joined.loss.data<A>()[0] = weighted(row_loss, weights, denominator);
  });
  return joined;
}

std::vector<std::int64_t> said_by_all(Communicator& ranks, std::int64_t own) {
  const Tensor all({ranks.ranks()}, Dtype::i64, cpu());
  ranks.all_gather(all, Tensor::of(std::vector<std::int64_t>{own}, {1}));
  return all.to_vector<std::int64_t>();
}

}  // namespace ov
