#include "rl/losses/actor.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/sum.h"

namespace ov::rl {

ActorLoss actor_loss(const ActorTokens& in, const ActorOptions& o) {
  const std::size_t N = in.logprobs.size();
  for (const std::size_t size : {in.proximal.size(), in.behaviour.size(), in.advantages.size(), in.mask.size()})
    if (size != N) input_error("actor_loss: expected ", N, " numbers of every kind, got ", size);
  if (o.dual_clip && *o.dual_clip <= 1) input_error("dual_clip: expected more than 1, got ", *o.dual_clip);

  ActorLoss out;
  std::vector<double> A(in.advantages.begin(), in.advantages.end());
  out.ratio.resize(N), out.log_ratio.resize(N);
  for (std::size_t t = 0; t < N; ++t) out.log_ratio[t] = in.logprobs[t] - in.proximal[t];

  // Sequences, and how many response tokens each has.
  std::vector<std::int64_t> starts = in.starts;
  if (in.row_length > 0)
    for (std::size_t t = 0; t <= N; t += static_cast<std::size_t>(in.row_length))
      starts.push_back(static_cast<std::int64_t>(t));
  std::vector<double> count;
  if (o.level == RatioLevel::sequence) {
    if (starts.size() < 2 || starts.front() != 0 || starts.back() != static_cast<std::int64_t>(N) ||
        !std::is_sorted(starts.begin(), starts.end()))
      input_error("actor_loss: expected sequences from 0 to ", N);
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
      const auto begin = static_cast<std::size_t>(starts[s]), end = static_cast<std::size_t>(starts[s + 1]);
      double n = 0, log_ratio = 0, advantage = 0;
      for (std::size_t t = begin; t < end; ++t) {
        if (in.mask[t]) n += 1, log_ratio += out.log_ratio[t];
        if (in.mask[t] || in.row_length > 0) advantage += in.advantages[t];
      }
      count.push_back(std::max(n, 1.0));
      for (std::size_t t = begin; t < end; ++t) {
        out.ratio[t] = in.mask[t] ? std::exp(log_ratio / count.back()) : 0;
        A[t] = in.mask[t] || in.row_length > 0 ? advantage / count.back() : 0;
      }
    }
  } else {
    for (std::size_t t = 0; t < N; ++t) out.ratio[t] = in.mask[t] ? std::exp(out.log_ratio[t]) : 0;
  }

  const auto masked = static_cast<std::int64_t>(std::count(in.mask.begin(), in.mask.end(), true));
  const auto D = static_cast<double>(std::max<std::int64_t>(in.denominator ? in.denominator : masked, 1));
  const double low = 1 - o.eps, high = 1 + o.eps_high.value_or(o.eps);
  std::vector<double> slope(N);  // ρ dl/dρ, times w m / D
  for (std::size_t t = 0; t < N; ++t) {
    const double r = out.ratio[t], clipped = std::clamp(r, low, high), free_loss = -A[t] * r, tight = -A[t] * clipped;
    double l = std::max(free_loss, tight);
    bool flows = free_loss >= tight;
    bool dual = false;
    if (o.dual_clip)
      if (const double limit = *o.dual_clip * std::abs(A[t]); limit < l) l = limit, flows = false, dual = true;
    double w = std::exp(in.proximal[t] - in.behaviour[t]);
    const bool kept = in.mask[t] && (!o.behaviour_cap || w <= *o.behaviour_cap);
    if (!kept) w = 0;
    out.clipped.push_back(free_loss < tight && in.mask[t]);
    out.dual_clipped.push_back(dual && in.mask[t]);
    out.kept.push_back(kept);
    out.behaviour_weight.push_back(w);
    out.behaviour_kl.push_back(kept ? in.proximal[t] - in.behaviour[t] : 0);
    out.token_loss.push_back(l * w);
    slope[t] = in.mask[t] && flows ? -A[t] * r * w / D : 0;
  }
  out.loss =
      sum<double>(static_cast<std::int64_t>(N),
                  [&](std::int64_t t) {
                    return in.mask[static_cast<std::size_t>(t)] ? out.token_loss[static_cast<std::size_t>(t)] : 0.0;
                  }) /
      D;
  if (o.level == RatioLevel::sequence)  // every token moves the ratio of its whole sequence
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
      const auto begin = static_cast<std::size_t>(starts[s]), end = static_cast<std::size_t>(starts[s + 1]);
      double all = 0;
      for (std::size_t t = begin; t < end; ++t) all += slope[t];
      for (std::size_t t = begin; t < end; ++t) slope[t] = in.mask[t] ? all / count[s] : 0;
    }
  out.gradient = std::move(slope);
  return out;
}

}  // namespace ov::rl
