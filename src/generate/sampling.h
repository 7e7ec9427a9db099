// From logits to the next token: Hugging Face's processors in their order, the penalties and biases of the OpenAI API,
// and a draw that depends on the seed and on the token's own position alone.
//
//   s_v += bias_v                                          logit_bias
//   s_v  = s_v > 0 ? s_v / r : s_v r                       repetition_penalty r; v in prompt or answer, once
//   s_v -= presence [n_v > 0] + frequency n_v              n_v: how often v stands in the answer so far
//   s_v /= T                                               temperature; 0: the largest, of equals the lowest id
//   top_k   stays what is at least the k-th largest, so that equals stay together
//   top_p   from the least likely on, all go whose cumulative probability is at most 1 - p; one stays
//   min_p   stays what has at least min_p of the largest probability
//
// All in f64 on the logits as they are, so the order of what is nearly equal does not depend on the model's type.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

struct Sampling {
  double temperature = 0;
  std::int64_t top_k = 0;  // 0: all
  double top_p = 1, min_p = 0;
  double repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  std::vector<std::pair<std::int64_t, double>> logit_bias = {};
  std::uint64_t seed = 0, choice = 0;  // choice: which of several answers to one prompt
  std::int64_t top_logprobs = -1;      // likeliest tokens told beside each; -1: no log-probabilities at all
};

// Throws input_error that names the option: outside of its range, or no number.
void check_sampling(const Sampling& sampling, std::int64_t vocabulary);

// What one token of an answer is, and what else it could have been. Log-probabilities are those of the model: of the
// logits before any of the above.
struct Token {
  std::int64_t id = 0;
  double logprob = 0;
  std::vector<std::pair<std::int64_t, double>> top = {};  // likeliest first, of equals the lowest id
  std::vector<double> attention = {};                     // Request::attention
};

// The logits of one row, exact.
std::vector<double> row_of_logits(const Tensor& logits, std::int64_t row);
// Scores after all of the above; what is out is -inf. `ids`: prompt and answer so far; the first `prompt` were given.
void process_scores(std::vector<double>& scores, const Sampling& sampling, std::span<const std::int64_t> ids,
                    std::size_t prompt);
// softmax of scores; 0 where they are -inf.
std::vector<double> probabilities(std::span<const double> scores);

// The next token after `ids`.
Token sample(const std::vector<double>& logits, const Sampling& sampling, std::span<const std::int64_t> ids,
             std::size_t prompt);
// `id` as a token of those logits: its log-probability, if wanted.
Token told(const std::vector<double>& logits, std::int64_t id, std::int64_t top_logprobs);

}  // namespace ov
