#include "rl/advantages.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"

namespace ov::rl {

float kl_estimate(Kl kind, float p, float q, bool clamped) {
  const float d = p - q;
  const auto e = std::exp(-static_cast<double>(d)) - 1 + static_cast<double>(d);  // in f32 the terms would cancel
  const float kl = kind == Kl::k1 ? d : kind == Kl::k2 ? d * d / 2 : static_cast<float>(e);
  return clamped ? std::clamp(kl, -10.0f, 10.0f) : kl;
}

std::vector<float> overlong_penalty(std::span<const float> rewards, std::span<const std::int64_t> response_lengths,
                                    std::int64_t max_response, std::int64_t overlong_tokens, double factor) {
  require_at_least(overlong_tokens, 1, "overlong_tokens");
  std::vector<float> out(rewards.begin(), rewards.end());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto over = static_cast<float>(response_lengths[i] - (max_response - overlong_tokens));
    out[i] += std::min(-over / static_cast<float>(overlong_tokens) * static_cast<float>(factor), 0.0f);
  }
  return out;
}

Advantages compute_advantages(const Rollouts& b, const AdvantageOptions& o) {
  const auto B = static_cast<std::size_t>(b.rows), T = static_cast<std::size_t>(b.tokens);
  const auto expect = [](const char* name, std::size_t size, std::size_t expected) {
    if (size != expected) input_error("rollouts: expected ", expected, " numbers of ", name, ", got ", size);
  };
  expect("loss_mask", b.loss_mask.size(), B * T);
  expect("logprobs", b.logprobs.size(), B * T);
  expect("ref_logp", b.ref_logp.empty() ? B * T : b.ref_logp.size(), B * T);
  expect("values", b.values.empty() ? B * T : b.values.size(), B * T);
  expect("lengths", b.lengths.size(), B);
  expect("rewards", b.rewards.size(), B);
  if (T < 2) input_error("rollouts: expected rows of at least 2 tokens, got ", T);
  const bool from_prox = !o.decoupled && o.recompute_logprob;
  if (from_prox && b.prox_logp.size() != B * T)
    input_error("rollouts: prox_logp is missing, and recompute_logprob asks for it");

  Advantages a;
  a.rewards = b.rewards;
  if (o.overlong_tokens) {
    std::vector<std::int64_t> response(B);
    for (std::size_t i = 0; i < B; ++i)
      response[i] = std::lround(std::accumulate(b.loss_mask.begin() + static_cast<std::ptrdiff_t>(i * T),
                                                b.loss_mask.begin() + static_cast<std::ptrdiff_t>((i + 1) * T), 0.0));
    a.rewards = overlong_penalty(b.rewards, response, o.max_new_tokens, *o.overlong_tokens, o.overlong_factor);
  }
  std::vector<float> score(B);
  const auto clip = static_cast<float>(o.reward_clip);
  for (std::size_t i = 0; i < B; ++i)
    score[i] = std::clamp((a.rewards[i] + static_cast<float>(o.reward_bias)) * static_cast<float>(o.reward_scaling),
                          -clip, clip);
  if (o.reward_norm) score = normalise<float>(score, b.rows, 0, {}, *o.reward_norm);

  const auto shifted = [&](const std::vector<float>& v) {  // the first of a row goes round to its end
    std::vector<float> out(v.size());
    for (std::size_t i = 0; i < B; ++i)
      for (std::size_t t = 0; t < T; ++t) out[i * T + t] = v[i * T + (t + 1) % T];
    return out;
  };
  a.loss_mask = shifted(b.loss_mask);
  a.prox_logp = b.prox_logp;
  a.logprobs = from_prox ? b.prox_logp : shifted(b.logprobs);
  for (std::size_t k = 0; k < B * T; ++k) a.logprobs[k] *= a.loss_mask[k];
  if (!o.decoupled) a.prox_logp = a.logprobs;  // one and the same where nothing is decoupled

  a.kl_rewards.resize(B * T);
  for (std::size_t k = 0; k < B * T; ++k) {
    const float reference = b.ref_logp.empty() ? 0 : b.ref_logp[k] * a.loss_mask[k];
    a.kl_rewards[k] = -static_cast<float>(o.kl_ctl) * kl_estimate(o.kl_estimator, a.logprobs[k], reference);
  }
  a.tot_rewards = a.kl_rewards;
  a.advantages.assign(B * T, 0);
  const auto gamma = static_cast<float>(o.discount), gamma_lambda = static_cast<float>(o.discount * o.gae_lambda);
  for (std::size_t i = 0; i < B; ++i) {
    const std::int64_t length = b.lengths[i];
    if (length < 1 || length > b.tokens) input_error("rollouts: expected a length from 1 to ", T, ", got ", length);
    const bool fills_batch = length == b.tokens;
    float* r = &a.tot_rewards[i * T];
    r[length - 1] = 0;  // no KL for what follows the last token
    if (!(o.mask_no_eos_with_zero && fills_batch)) r[std::max<std::int64_t>(length - 2, 0)] += score[i];
    const auto value = [&](std::size_t t) { return b.values.empty() ? 0.0f : b.values[i * T + t]; };
    float next = fills_batch ? value(T - 1) : 0, last = 0;
    for (std::size_t t = T - 1; t-- > 0;) {
      const float m = a.loss_mask[i * T + t];
      const float advantage = r[t] + gamma * next - value(t) + gamma_lambda * last;
      next = next * (1 - m) + value(t) * m;
      last = last * (1 - m) + advantage * m;
      a.advantages[i * T + t] = last;
    }
  }
  a.returns = a.advantages;
  if (!b.values.empty())
    for (std::size_t k = 0; k < B * T; ++k) a.returns[k] += b.values[k];
  if (o.adv_norm) a.advantages = normalise<float>(a.advantages, b.rows, b.tokens, a.loss_mask, *o.adv_norm);
  return a;
}

Kept dynamic_sampling(std::span<const float> rewards, std::int64_t group_size) {
  const auto n = static_cast<std::int64_t>(rewards.size());
  Kept kept, all;
  all.rows.resize(rewards.size());
  std::iota(all.rows.begin(), all.rows.end(), 0);
  if (group_size <= 0) return all;
  all.groups_kept = n / group_size;
  if (n % group_size != 0) return all;
  for (std::int64_t at = 0; at < n; at += group_size) {
    const auto group = rewards.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(group_size));
    if (std::all_of(group.begin(), group.end(), [&](float r) { return r == group[0]; })) {
      ++kept.groups_dropped;
      continue;
    }
    ++kept.groups_kept;
    for (std::int64_t i = at; i < at + group_size; ++i) kept.rows.push_back(i);
  }
  if (!kept.rows.empty()) return kept;
  all.groups_kept = 0, all.groups_dropped = kept.groups_dropped;
  return all;
}

std::vector<std::vector<std::int64_t>> ffd_allocate(std::span<const std::int64_t> lengths, std::int64_t capacity,
                                                    std::int64_t min_groups) {
  const auto n = static_cast<std::int64_t>(lengths.size());
  if (n < min_groups) input_error("micro-batches: expected at least ", min_groups, " sequences, got ", n);
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  const auto length = [&](std::int64_t i) { return lengths[static_cast<std::size_t>(i)]; };
  std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) { return length(i) > length(j); });
  std::vector<std::vector<std::int64_t>> groups;
  std::set<std::pair<std::int64_t, std::size_t>> filled;  // tokens and number of every group
  for (const std::int64_t i : order) {
    if (length(i) > capacity)
      input_error("micro-batches: sequence ", i, " has ", length(i), " tokens, a micro-batch holds ", capacity);
    if (static_cast<std::int64_t>(groups.size()) < min_groups || filled.begin()->first + length(i) > capacity) {
      filled.insert({length(i), groups.size()});
      groups.push_back({i});
      continue;
    }
    auto best = filled.begin();
    for (auto it = filled.begin(); it != filled.end() && it->first + length(i) <= capacity; ++it)
      if (groups[it->second].size() < groups[best->second].size()) best = it;
    const auto [tokens, g] = *best;
    filled.erase(best);
    filled.insert({tokens + length(i), g});
    groups[g].push_back(i);
  }
  return groups;
}

}  // namespace ov::rl
