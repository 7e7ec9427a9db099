// Where the losses of RL meet a model: both the decoupled PPO loss and DPO are functions of the log-probabilities of
// given tokens, and dL/dz of such a loss is that of a weighted cross entropy, which the engine has already:
//
//   logπ_n = -ce_n,  dL/dz_n = dL/dlogπ_n ([v = target] - softmax z) = (w_n / D) (softmax z - [v = target]),
//   w_n = -D dL/dlogπ_n
//
// So a first pass reads the log-probabilities, the loss makes a signed weight a token, and the second is the loss op.
#pragma once
#include "autograd/ops.h"
#include "rl/losses/actor.h"

namespace ov::rl {

// Log-probability of each row's target and entropy of its distribution, at a temperature. On the host, in f64.
struct TokenStatistics {
  std::vector<double> logprobs, entropy;  // [N]
};
TokenStatistics token_statistics(const Tensor& logits, std::span<const std::int64_t> targets, double temperature = 1);

// logits [N,V] with the given gradient of some loss by its tokens' log-probabilities, `by_logprob` [N]: a loss op
// whose backward is that gradient. Its value is Σ by_logprob logπ, not the loss.
Var loss_of_logprobs(const Var& logits, std::span<const std::int64_t> targets, std::span<const double> by_logprob,
                     double temperature = 1);

}  // namespace ov::rl
