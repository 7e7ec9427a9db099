// GRPO with the decoupled loss as an objective of the engine (train/objective.h):
//
//   prepare   the groups of the step, whatever the mode (rl/buffer.h): G rollouts of each of its prompts, rewards,
//             advantages
//   run       one micro-batch: the prompt of a group once, as a prefix, and behind it every different rollout of the
//             group as a branch. Equal rollouts are one branch, with the sum of their tokens' gradients
//
// A branch begins with the prompt's last token, which is run again in each: it predicts the first of the answer. The
// proximal policy is the one that the step starts from, whose log-probabilities its own forward pass gives (ρ = 1).
//
// In f32 and f64 on the CPU the trainer's log-probability of a token that the same weights drew is the sampler's, bit
// for bit, since both read the same keys in the same order: w = 1 exactly. run() checks it and ends the run where it is
// not so. Other tokens are of older weights: they count by w, and not at all above its cap.
//
// In modes sync and timesliced every rank draws all rollouts, to the same bits; in any mode it trains its share of the
// micro-batches: one rank or several, the same run. What is half written is part of the state.
#pragma once
#include "rl/advantages.h"
#include "rl/branches.h"
#include "rl/buffer.h"
#include "rl/losses/actor.h"
#include "train/engine.h"

namespace ov::rl {

struct PolicyOptions {
  OrderOptions order;               // prompts of a step, seed
  RolloutOptions rollouts;          // `group`: G
  std::int64_t staleness = 0;       // η: 0 in mode sync
  std::int64_t most_groups = 256;   // that are written at once
  std::int64_t max_tokens = 32768;  // of a micro-batch; one branch alone may be longer
  bool drop_flat = false;        // groups of equal rewards are left out ("dynamic sampling"); the original keeps them
  bool shuffle_rewards = false;  // among the rollouts of a step: a control, which must not learn
  ActorOptions actor{.eps = 0.2, .eps_high = 0.28, .behaviour_cap = 5.0};
  AdvantageOptions advantages;           // group sizes and longest answer are set from the above
  const Onevision* reference = nullptr;  // what advantages.kl_ctl above 0 measures from: its log-probabilities are read
  PixelLimits limits = {};
};

BufferOptions buffer_options(const PolicyOptions& options);

class PolicyObjective : public Objective {
 public:
  PolicyObjective(Onevision& model, const Processor& processor, const RecordFile& records,
                  const PolicyOptions& options);
  // The same with groups from elsewhere.
  PolicyObjective(Onevision& model, const PolicyOptions& options, std::unique_ptr<RolloutSource> source);

  Parameters& parameters() const override { return model_.parameters(); }
  Loaded prepare(std::int64_t step) override;
  void normalise(const std::vector<std::int64_t>& denominators) override { tokens_ = denominators.at(0); }
  std::int64_t scalars() const override { return std::ssize(leaves_) * scalars_of_leaf; }
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  void updated(const Tensor& scalars) override;
  // Parts: reward, length, stopped, entropy, staleness (updates since the weights that drew a token), lags (tokens by
  // that number), clip, dropped (tokens whose w is above the cap), weight (w), behaviour_kl, flat_groups, distinct
  // (rollouts that are trained, of all), reference_kl (with a reference: its estimate, mean over tokens), prompt_tokens
  // (of the rollouts' prompts, which the engine read), shared_tokens (which it did not read again), row_tokens (of the
  // rollouts that are trained, were each a row of its own: the step's `tokens` are what is left where a group's prompt
  // stands once and equal rollouts are one), raised,
  // sampling_flops and reference_flops (beside the step's `flops`, which are those of training);
  // events, where only the log knows them (rl/replay.h).
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override { return Json::object({{"step", steps_}, {"rollouts", source_->state()}}); }
  void restore(const Json& state) override;

  // Loads a step from groups that are written and scored.
  Loaded load(std::int64_t step, Groups groups);
  const Groups& groups() const { return groups_; }  // of the prepared step
  bool merge_equal = true;                          // tests train equal rollouts one by one, too
  // Tests differentiate the loss: the proximal policy stays what it was when a leaf first ran.
  bool hold_proximal = false;

  // Loss, and sums over tokens: entropy, clipped, dropped, w, logπ_p - logπ_b.
  static constexpr std::int64_t scalars_of_leaf = 6;

 private:
  struct Leaf {
    Branches branches = {};
    // Tokens of the rollouts, equal ones each by itself: the place in branches.rows, the version of the weights that
    // drew it and its log-probability there, advantage.
    std::vector<std::int64_t> row_of = {}, versions = {};
    std::vector<double> behaviour = {}, advantages = {}, proximal = {};
    std::vector<std::int64_t> starts = {0};  // of the rollouts among them
  };
  std::vector<float> reference_logprobs(std::int64_t stride);
  void add_leaves(const Group& group, std::span<const float> advantages, std::int64_t stride);

  Onevision& model_;
  PolicyOptions options_;
  std::unique_ptr<RolloutSource> source_;
  Groups groups_;
  std::vector<float> rewards_;  // as trained on
  std::vector<Leaf> leaves_;
  RolloutCounts counts_;
  std::int64_t steps_ = 0, tokens_ = 0, row_tokens_ = 0, flat_ = 0, distinct_ = 0, reference_products_ = 0;
  double reference_kl_ = 0;
};

}  // namespace ov::rl
