// The decoupled PPO loss of LLaVA-OneVision-1.5-RL (AReaL, arXiv 2505.24298), and its gradient by log-probabilities.
// Three policies: b drew the tokens, p is where this step started, θ is trained.
//
//   ρ_t = exp(logπ_θ - logπ_p)           sequence level (GSPO): of the mean over the sequence, advantages averaged
//   l_t = max(-A_t ρ_t, -A_t clip(ρ_t, 1 - ε, 1 + ε_high))       then min(l_t, c |A_t|) where dual clip is on
//   w_t = exp(logπ_p - logπ_b), 0 where it is above the cap: such tokens are dropped, not clamped
//   L   = Σ_t m_t w_t l_t / Σ_t m_t                              dropped tokens stay in the denominator
//
//   dL/dlogπ_θt = -m_t w_t A_t ρ_t / N where l_t is the unclipped branch; at ρ = 1 both branches have this slope
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ov::rl {

enum class RatioLevel { token, sequence };

struct ActorOptions {
  double eps = 0.2;
  std::optional<double> eps_high = {};       // as eps
  std::optional<double> dual_clip = {};      // above 1
  std::optional<double> behaviour_cap = {};  // of w
  RatioLevel level = RatioLevel::token;
};

// All [N]. `mask` is true on response tokens. Sequences, for RatioLevel::sequence: `starts` holds where each begins
// and, last, the end (packed); or every row has `row_length` tokens (padded rows), where the original also averages the
// advantages of masked places. `denominator`: tokens of the whole step over all ranks; 0: those of the mask.
struct ActorTokens {
  std::span<const double> logprobs, proximal, behaviour, advantages;
  const std::vector<bool>& mask;
  std::vector<std::int64_t> starts = {};
  std::int64_t row_length = 0;
  std::int64_t denominator = 0;
};

struct ActorLoss {
  double loss = 0;
  std::vector<double> gradient;                                                      // [N], dL/dlogprobs
  std::vector<double> token_loss, ratio, log_ratio, behaviour_weight, behaviour_kl;  // [N], for the log
  std::vector<bool> clipped, dual_clipped, kept;                                     // [N]
};

ActorLoss actor_loss(const ActorTokens& tokens, const ActorOptions& options);

}  // namespace ov::rl
