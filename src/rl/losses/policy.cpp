#include "rl/losses/policy.h"

#include <algorithm>
#include <cmath>

#include "base/sum.h"

namespace ov::rl {

TokenStatistics token_statistics(const Tensor& logits, std::span<const std::int64_t> targets, double temperature) {
  const Tensor z = logits.to(cpu()).to(Dtype::f64);
  const std::int64_t N = z.dim(0), V = z.dim(1);
  if (static_cast<std::int64_t>(targets.size()) != N) input_error("token_statistics: expected ", N, " targets");
  TokenStatistics out;
  for (std::int64_t n = 0; n < N; ++n) {
    const double* row = z.row<double>(n);
    const double largest = *std::max_element(row, row + V) / temperature;
    const auto shifted = [&](std::int64_t v) { return row[v] / temperature - largest; };
    const double log_sum = std::log(sum<double>(V, [&](std::int64_t v) { return std::exp(shifted(v)); }));
    const std::int64_t target = targets[static_cast<std::size_t>(n)];
    if (target < 0 || target >= V) input_error("token_statistics: target ", target, " is not below ", V);
    out.logprobs.push_back(shifted(target) - log_sum);
    out.entropy.push_back(log_sum -
                          sum<double>(V, [&](std::int64_t v) { return std::exp(shifted(v) - log_sum) * shifted(v); }));
  }
  return out;
}

Var loss_of_logprobs(const Var& logits, std::span<const std::int64_t> targets, std::span<const double> by_logprob,
                     double temperature) {
  const std::int64_t N = logits.dim(0);
  Device& device = logits.value.device();
  std::vector<double> weights;
  for (const double g : by_logprob) weights.push_back(-g);
  const Tensor w = Tensor::of(weights, {N}).to(accum_dtype(logits.value.dtype()), Segment::data).to(device);
  const Tensor index = Tensor::of(std::vector<std::int64_t>(targets.begin(), targets.end()), {N}, device);
  if (temperature == 1) return cross_entropy(logits, index, w, 1).loss;
  const Tensor scale = Tensor::of(std::vector<double>{-std::log(temperature)}, {}).to(logits.value.dtype()).to(device);
  return cross_entropy(exp_scale(logits, Var{scale, logits.tape}), index, w, 1).loss;
}

}  // namespace ov::rl
