// From rewards to advantages, in the order and with the constants of LLaVA-OneVision-1.5-RL (AReaL's PPOActor). The
// original works in f32 and takes means and deviations in f64; so does this.
//
//   r'   = clip((r + bias) scaling, -clip, clip)              per row
//   z    = reward_norm(r')                                    by groups of neighbouring rows
//   A_t  = GAE of (z at the last response token - kl_ctl KL_t)  backwards in time, response tokens alone
//   Adv  = adv_norm(A, mask)                                  over all response tokens
//
// A group of equal rewards has z = 0, and after adv_norm an advantage of -M/S: it does move the policy.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ov::rl {

// Which elements share a mean or a deviation. none: a mean of 0, a deviation of 1 without eps.
enum class Level { none, group, batch };

struct NormOptions {
  Level mean = Level::batch, std = Level::batch;
  bool leave_one_out = false;  // the mean of the others
  bool unbiased = true;        // divide by n - 1
  std::int64_t group_size = 1;
  double eps = 1e-5;
};

// x [rows] (columns 0) or [rows, columns], mask of the same shape or empty: (x - mean) / (std + eps), 0 where the mask
// is. Rows that fill no group keep mean and deviation 0: they come out divided by eps. Nothing is masked in: x itself.
// T is what x is stored in, and what group means are rounded to. input_error for groups of one row where x is [rows],
// which the original does not take either when the mean leaves one out or the deviation is unbiased.
template <class T>
std::vector<float> normalise(std::span<const T> x, std::int64_t rows, std::int64_t columns, std::span<const T> mask,
                             const NormOptions& options);

// The older form: mean and variance from the sums of x and x², both over what the mask leaves.
std::vector<float> masked_normalization(std::span<const double> x, std::span<const double> mask, bool unbiased,
                                        double eps = 1e-5);

// How far log-probabilities p are from q: k1 = p - q, k2 = (p - q)²/2, k3 = e^(q-p) - 1 - (q - p) (Schulman 2020).
enum class Kl { k1, k2, k3 };
float kl_estimate(Kl kind, float p, float q, bool clamped = true);  // clamped to [-10, 10]

struct AdvantageOptions {
  double reward_bias = -0.5, reward_scaling = 10, reward_clip = 20;
  std::optional<NormOptions> reward_norm = NormOptions{Level::group, Level::group, false, true, 16, 1e-5};
  std::optional<NormOptions> adv_norm = NormOptions{Level::batch, Level::batch, false, true, 1, 1e-5};
  double kl_ctl = 0;
  Kl kl_estimator = Kl::k1;
  double discount = 1, gae_lambda = 1;
  bool decoupled = true, recompute_logprob = true;  // decides which log-probabilities are the old policy's
  bool mask_no_eos_with_zero = false;  // rows as long as the batch get no reward: the original's guess at "no eos"
  std::optional<std::int64_t> overlong_tokens = {};  // set: the penalty for long answers is on
  double overlong_factor = 1;
  std::int64_t max_new_tokens = 4096;
};

// Rows of equal length T, padded at the end. `t` of a mask or log-probability is the token's own place; results are
// shifted: index t is about predicting token t + 1.
struct Rollouts {
  std::int64_t rows = 0, tokens = 0;
  std::vector<std::int64_t> lengths;  // [rows], prompt and response
  std::vector<float> loss_mask;       // [rows, T], 1 on response tokens
  std::vector<float> logprobs;        // [rows, T], of the sampler
  std::vector<float> prox_logp;       // [rows, T], shifted already; may be empty where it is not used
  std::vector<float> ref_logp;        // [rows, T] of the reference policy, or empty
  std::vector<float> values;          // [rows, T] of a critic, or empty
  std::vector<float> rewards;         // [rows]
};

struct Advantages {
  std::vector<float> advantages, returns, kl_rewards, tot_rewards, loss_mask, logprobs, prox_logp;  // [rows, T]
  std::vector<float> rewards;  // [rows], after the penalty for length
};

Advantages compute_advantages(const Rollouts& batch, const AdvantageOptions& options);

// r + min(-(length - (max_response - overlong_tokens)) / overlong_tokens factor, 0).
std::vector<float> overlong_penalty(std::span<const float> rewards, std::span<const std::int64_t> response_lengths,
                                    std::int64_t max_response, std::int64_t overlong_tokens, double factor);

// The rows of groups whose raw rewards differ; all of them when every group is uniform, or when the groups do not come
// out even.
struct Kept {
  std::vector<std::int64_t> rows;
  std::int64_t groups_kept = 0, groups_dropped = 0;
};
Kept dynamic_sampling(std::span<const float> rewards, std::int64_t group_size);

// Micro-batches: first fit of the longest first, into bins of `capacity`, at least `min_groups` of them; among the bins
// that still hold a sequence, the one with fewest. input_error for a sequence longer than a bin.
std::vector<std::vector<std::int64_t>> ffd_allocate(std::span<const std::int64_t> lengths, std::int64_t capacity,
                                                    std::int64_t min_groups);

}  // namespace ov::rl
