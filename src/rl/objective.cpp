#include "rl/objective.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

#include "base/hash.h"
#include "base/rng.h"
#include "base/sum.h"
#include "rl/losses/policy.h"
#include "train/checksums.h"
#include "train/objectives/language.h"

namespace ov::rl {
namespace {

bool all_equal(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
}

}  // namespace

BufferOptions buffer_options(const PolicyOptions& o) {
  return {.prompts = o.order.prompts,
          .staleness = o.staleness,
          .most_groups = o.most_groups,
          .seed = o.order.seed,
          .rollouts = o.rollouts,
          .limits = o.limits};
}

PolicyObjective::PolicyObjective(Onevision& model, const Processor& processor, const RecordFile& records,
                                 const PolicyOptions& options)
    : PolicyObjective(model, options,
                      std::make_unique<RolloutBuffer>(model, processor, records, PromptOrder(records, options.order),
                                                      buffer_options(options))) {}

PolicyObjective::PolicyObjective(Onevision& model, const PolicyOptions& options, std::unique_ptr<RolloutSource> source)
    : model_(model), options_(options), source_(std::move(source)) {
  AdvantageOptions& a = options_.advantages;
  if (a.reward_norm) a.reward_norm->group_size = options.rollouts.group;
  if (a.adv_norm) a.adv_norm->group_size = options.rollouts.group;
  a.max_new_tokens = options.rollouts.max_new_tokens;
  if (a.kl_ctl > 0 && !options.reference) input_error("rl.kl ", a.kl_ctl, ": there is no reference model");
  if (options.actor.dual_clip && *options.actor.dual_clip <= 1)
    input_error("rl.dual_clip ", *options.actor.dual_clip, ": expected more than 1");
}

void PolicyObjective::restore(const Json& state) {
  steps_ = state.at("step").as_int();
  source_->restore(state.at("rollouts"));
}

Loaded PolicyObjective::prepare(std::int64_t step) { return load(step, source_->take(step, counts_)); }

void PolicyObjective::updated(const Tensor&) { source_->updated(steps_, counts_); }

Loaded PolicyObjective::load(std::int64_t step, Groups groups) {
  groups_ = std::move(groups);
  const std::int64_t P = std::ssize(groups_), G = options_.rollouts.group;
  rewards_.clear();
  std::int64_t longest = 0;
  for (const auto& group : groups_)
    for (const Rollout& r : group->rollouts) {
      rewards_.push_back(static_cast<float>(r.reward.reward));
      longest = std::max(longest, std::ssize(r.ids));
    }
  if (options_.shuffle_rewards) {
    const Permutation order(P * G, options_.order.seed ^ fnv1a("shuffled rewards"), static_cast<std::uint64_t>(step));
    const std::vector<float> own = rewards_;
    for (std::int64_t i = 0; i < P * G; ++i)
      rewards_[static_cast<std::size_t>(i)] = own[static_cast<std::size_t>(order(i))];
  }
  // The prompt counts as one token: its last, which predicts the answer's first.
  const std::int64_t T = longest + 1;
  Rollouts rows;
  rows.rows = P * G, rows.tokens = T;
  rows.loss_mask.assign(static_cast<std::size_t>(P * G * T), 0);
  rows.logprobs.assign(rows.loss_mask.size(), 0);
  rows.rewards = rewards_;
  const Kept kept = dynamic_sampling(rewards_, G);
  std::vector<bool> used(static_cast<std::size_t>(P), !options_.drop_flat);
  for (const std::int64_t row : kept.rows) used[static_cast<std::size_t>(row / G)] = true;
  flat_ = 0;
  std::int64_t tokens = 0, patches = 0;
  for (std::int64_t i = 0; i < P * G; ++i) {
    const auto g = static_cast<std::size_t>(i / G);
    const Rollout& r = groups_[g]->rollouts[static_cast<std::size_t>(i % G)];
    if (i % G == 0)
      flat_ += all_equal(
          std::span<const float>(rewards_).subspan(g * static_cast<std::size_t>(G), static_cast<std::size_t>(G)));
    rows.lengths.push_back(std::ssize(r.ids) + 1);
    for (std::int64_t t = 1; t <= std::ssize(r.ids); ++t) {
      rows.loss_mask[static_cast<std::size_t>(i * T + t)] = 1;
      rows.logprobs[static_cast<std::size_t>(i * T + t)] =
          static_cast<float>(r.logprobs[static_cast<std::size_t>(t - 1)]);
    }
  }
  rows.prox_logp = rows.logprobs;  // nothing here reads them: the loss is decoupled
  reference_products_ = 0;
  if (options_.advantages.kl_ctl > 0) rows.ref_logp = reference_logprobs(T);
  const Advantages a = compute_advantages(rows, options_.advantages);
  reference_kl_ = 0;
  if (options_.advantages.kl_ctl > 0)
    for (const float r : a.kl_rewards) reference_kl_ -= static_cast<double>(r) / options_.advantages.kl_ctl;

  leaves_.clear();
  distinct_ = 0, tokens_ = 0, row_tokens_ = 0;
  Loaded loaded;
  loaded.samples = P * G;
  for (std::size_t p = 0; p < groups_.size(); ++p) {
    if (!used[p]) continue;
    const auto size = static_cast<std::size_t>(G * T);
    add_leaves(*groups_[p], std::span<const float>(a.advantages).subspan(p * size, size), T);
    for (const Rollout& r : groups_[p]->rollouts) {
      tokens_ += std::ssize(r.ids);
      row_tokens_ += std::ssize(groups_[p]->prompt.input_ids) - 1 + std::ssize(r.ids);
    }
  }
  for (const Leaf& leaf : leaves_) {
    tokens += leaf.branches.batch.tokens();
    for (const auto& g : leaf.branches.batch.grids) patches += g[0] * g[1] * g[2];
  }
  loaded.leaves = std::ssize(leaves_), loaded.tokens = tokens, loaded.patches = patches;
  loaded.denominators = {tokens_};
  steps_ = step + 1;
  return loaded;
}

// [rows, stride], of the token that comes next.
std::vector<float> PolicyObjective::reference_logprobs(std::int64_t stride) {
  const std::int64_t G = options_.rollouts.group;
  std::vector<float> out(groups_.size() * static_cast<std::size_t>(G * stride));
  for (std::size_t p = 0; p < groups_.size(); ++p) {
    const Group& group = *groups_[p];
    std::int64_t first = 0;  // of the rollouts of this row
    Branches row(group.prompt);
    const auto read = [&](std::int64_t end) {
      Tape counting;  // of no gradients
      const std::vector<double> logprobs =
          branch_logprobs(row, branch_logits(*options_.reference, &counting, row).value);
      reference_products_ += counting.products().forward;
      for (std::int64_t i = first; i < end; ++i) {
        const std::int64_t begin = row.starts[static_cast<std::size_t>(i - first)];
        const std::int64_t n = row.starts[static_cast<std::size_t>(i - first + 1)] - begin;
        float* to =
            &out[(p * static_cast<std::size_t>(G) + static_cast<std::size_t>(i)) * static_cast<std::size_t>(stride)];
        for (std::int64_t t = 0; t < n; ++t) to[t] = static_cast<float>(logprobs[static_cast<std::size_t>(begin + t)]);
      }
      first = end, row = Branches(group.prompt);
    };
    for (std::int64_t i = 0; i < G; ++i) {
      const std::vector<std::int64_t>& ids = group.rollouts[static_cast<std::size_t>(i)].ids;
      if (i > first && row.batch.tokens() + std::ssize(ids) > options_.max_tokens) read(i);
      row.add(group.prompt, ids);
    }
    read(G);
  }
  return out;
}

// `advantages` [G, stride], of the token that comes next.
void PolicyObjective::add_leaves(const Group& of, std::span<const float> advantages, std::int64_t stride) {
  const Prompt& prompt = of.prompt;
  const std::vector<Rollout>& group = of.rollouts;
  std::vector<std::vector<std::size_t>> equal;  // rollouts, in order of their first
  std::map<std::vector<std::int64_t>, std::size_t> first;
  for (std::size_t i = 0; i < group.size(); ++i) {
    const auto [at, fresh] = first.emplace(group[i].ids, equal.size());
    if (fresh || !merge_equal) equal.push_back({i});
    else equal[at->second].push_back(i);
  }
  Leaf* leaf = nullptr;
  for (const auto& same : equal) {
    const Rollout& r = group[same[0]];
    const std::int64_t length = std::ssize(r.ids);
    if (!leaf || leaf->branches.batch.tokens() + length > options_.max_tokens)
      leaf = &leaves_.emplace_back(Leaf{.branches = Branches(prompt)});
    const std::int64_t row = std::ssize(leaf->branches.rows);
    leaf->branches.add(prompt, r.ids);
    for (const std::size_t i : same) {
      for (std::int64_t t = 0; t < length; ++t) {
        leaf->row_of.push_back(row + t);
        leaf->versions.push_back(group[i].versions[static_cast<std::size_t>(t)]);
        leaf->behaviour.push_back(group[i].logprobs[static_cast<std::size_t>(t)]);
        leaf->advantages.push_back(advantages[static_cast<std::size_t>(static_cast<std::int64_t>(i) * stride + t)]);
      }
      leaf->starts.push_back(std::ssize(leaf->row_of));
    }
    ++distinct_;
  }
}

void PolicyObjective::run(std::int64_t number, Tape& tape, const Tensor& scalars) {
  Leaf& leaf = leaves_[static_cast<std::size_t>(number)];
  Device& device = model_.parameters().device();
  const Dtype dtype = model_.parameters().dtype();
  const std::int64_t N = std::ssize(leaf.branches.rows);
  const Var logits = branch_logits(model_, &tape, leaf.branches);
  std::vector<double> entropies;
  const std::vector<double> by_row = branch_logprobs(leaf.branches, logits.value, &entropies);
  std::vector<double> logprobs;
  double entropy = 0;
  for (const std::int64_t r : leaf.row_of) {
    logprobs.push_back(by_row[static_cast<std::size_t>(r)]);
    entropy += entropies[static_cast<std::size_t>(r)];
  }
  if (leaf.proximal.empty() || !hold_proximal) leaf.proximal = logprobs;
  if (device.on_host() && dtype != Dtype::bf16 && !hold_proximal)
    for (std::size_t t = 0; t < logprobs.size(); ++t)
      if (leaf.versions[t] == steps_ - 1 && logprobs[t] != leaf.behaviour[t])
        machine_error("rl: step ", steps_, ", micro-batch ", number, ": the sampler gave a token the log-probability ",
                      leaf.behaviour[t], ", the trainer ", logprobs[t],
                      "; of the same weights on the CPU both are the same bits");
  const std::vector<bool> mask(logprobs.size(), true);
  const ActorLoss loss = actor_loss({.logprobs = logprobs,
                                     .proximal = leaf.proximal,
                                     .behaviour = leaf.behaviour,
                                     .advantages = leaf.advantages,
                                     .mask = mask,
                                     .starts = leaf.starts,
                                     .denominator = tokens_},
                                    options_.actor);
  std::vector<double> gradient(static_cast<std::size_t>(N), 0.0);
  for (std::size_t t = 0; t < leaf.row_of.size(); ++t)
    gradient[static_cast<std::size_t>(leaf.row_of[t])] += loss.gradient[t];
  const auto count = [](const std::vector<bool>& v, bool what) {
    return static_cast<double>(std::count(v.begin(), v.end(), what));
  };
  const auto total = [](const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); };
  const std::vector<double> told = {loss.loss,
                                    entropy,
                                    count(loss.clipped, true),
                                    count(loss.kept, false),
                                    total(loss.behaviour_weight),
                                    total(loss.behaviour_kl)};
  const std::int64_t at = number * scalars_of_leaf;
  scalars.slice(0, at, at + scalars_of_leaf).copy_from(Tensor::of(told, {scalars_of_leaf}).to(device));
  const Var optimised = loss_of_logprobs(logits, leaf.branches.targets, gradient);
  backward_from(tape, std::span(&optimised, 1));
}

Losses PolicyObjective::losses(std::span<const double> scalars) {
  const auto total = [&](std::int64_t of) {
    return sum<double>(std::ssize(leaves_),
                       [&](std::int64_t i) { return scalars[static_cast<std::size_t>(i * scalars_of_leaf + of)]; });
  };
  double reward = 0, length = 0, stopped = 0, staleness = 0, drawn = 0;
  const auto rollouts = static_cast<double>(rewards_.size());
  std::map<std::int64_t, std::int64_t> lags;
  for (const auto& group : groups_)
    for (const Rollout& r : group->rollouts) {
      reward += r.reward.reward / rollouts;
      length += static_cast<double>(r.ids.size()) / rollouts;
      stopped += (r.stopped ? 1 : 0) / rollouts;
      for (const std::int64_t v : r.versions)
        ++lags[steps_ - 1 - v], ++drawn, staleness += static_cast<double>(steps_ - 1 - v);
    }
  const auto tokens = static_cast<double>(std::max<std::int64_t>(tokens_, 1));
  Losses out;
  out.loss = total(0), out.labelled = tokens_;
  out.parts = Json::object({{"reward", reward},
                            {"length", length},
                            {"stopped", stopped},
                            {"entropy", total(1) / tokens},
                            {"staleness", staleness / drawn},
                            {"clip", total(2) / tokens},
                            {"dropped", total(3) / tokens},
                            {"weight", total(4) / tokens},
                            {"behaviour_kl", total(5) / tokens},
                            {"flat_groups", static_cast<double>(flat_) / static_cast<double>(groups_.size())},
                            {"distinct", static_cast<double>(distinct_) / rollouts},
                            {"prompt_tokens", counts_.prompt_tokens},
                            {"shared_tokens", counts_.shared_tokens},
                            {"row_tokens", row_tokens_},
                            {"raised", counts_.raised},
                            {"sampling_flops", 2 * counts_.products},
                            {"reference_flops", 2 * reference_products_}});
  Json histogram = Json::object();
  for (const auto& [lag, n] : lags) histogram.set(std::to_string(lag), n);
  if (options_.staleness > 0) out.parts.set("lags", histogram);
  if (options_.advantages.kl_ctl > 0) out.parts.set("reference_kl", reference_kl_ / tokens);
  if (const Json events = source_->events(groups_, steps_ - 1); !events.is_null()) out.parts.set("events", events);
  if (counts_.raised) {
    Json reasons = Json::object();
    for (const auto& [reason, n] : counts_.raised_of) reasons.set(reason, n);
    out.parts.set("raised_of", reasons);
  }
  char note[48];
  std::snprintf(note, sizeof note, "reward %.3f%s", reward,
                flat_ < std::ssize(groups_) ? ""
                : options_.drop_flat        ? ", all groups flat: nothing learned"
                                            : ", all groups flat");
  out.note = note;
  return out;
}

std::uint64_t PolicyObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const auto& group : groups_)
    for (const Rollout& r : group->rollouts) {
      sum.add(r.ids.data(), std::ssize(r.ids));
      sum.add(r.logprobs.data(), std::ssize(r.logprobs));
    }
  sum.add(rewards_.data(), std::ssize(rewards_));
  return sum.value;
}

}  // namespace ov::rl
