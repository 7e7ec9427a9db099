// GRPO with the decoupled loss as an objective of the engine (train/objective.h), in mode `sync`:
//
//   prepare   the step's prompts, G rollouts of each from the weights as they are, rewards, advantages
//   run       one micro-batch: the prompt of a group once, as a prefix, and behind it every different rollout of the
//             group as a branch. Equal rollouts are one branch, with the sum of their tokens' gradients
//
// A branch begins with the prompt's last token, which is run again in each: it predicts the first of the answer. The
// proximal policy is the one that the step starts from, whose log-probabilities its own forward pass gives (ρ = 1).
//
// In f32 and f64 on the CPU the trainer's log-probability of a token is the sampler's, bit for bit, since both read the
// same keys in the same order: w = 1 exactly. run() checks it and ends the run where it is not so.
//
// Every rank draws all rollouts, to the same bits, and trains its share of the micro-batches: one rank or several, the
// same run. A step's draws depend on the seed, its number and the weights alone, so the step is all the state there is.
#pragma once
#include "data/batch.h"
#include "rl/advantages.h"
#include "rl/losses/actor.h"
#include "rl/rollout.h"
#include "train/engine.h"

namespace ov::rl {

struct PolicyOptions {
  std::int64_t prompts = 32;        // a step
  RolloutOptions rollouts;          // `group`: G
  std::int64_t max_tokens = 32768;  // of a micro-batch; one branch alone may be longer
  std::uint64_t seed = 219;
  bool drop_flat = false;        // groups of equal rewards are left out ("dynamic sampling"); the original keeps them
  bool shuffle_rewards = false;  // among the rollouts of a step: a control, which must not learn
  ActorOptions actor{.eps = 0.2, .eps_high = 0.28, .behaviour_cap = 5.0};
  AdvantageOptions advantages;  // its group size is set from the above
  PixelLimits limits = {};
};

class PolicyObjective : public Objective {
 public:
  PolicyObjective(Onevision& model, const Processor& processor, const RecordFile& records,
                  const PolicyOptions& options);

  Parameters& parameters() const override { return model_.parameters(); }
  Loaded prepare(std::int64_t step) override;
  void normalise(const std::vector<std::int64_t>& denominators) override { tokens_ = denominators.at(0); }
  std::int64_t scalars() const override { return std::ssize(leaves_) * scalars_of_leaf; }
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  // Parts: reward, length, stopped, entropy, staleness, clip, dropped (tokens whose w is above the cap), flat_groups,
  // distinct (rollouts that are trained, of all), shared (prompt tokens that the engine did not read again), raised.
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override { return Json::object({{"step", steps_}}); }
  void restore(const Json& state) override;

  // Of the prepared step, for tests: [prompts][G].
  const std::vector<std::vector<Rollout>>& rollouts() const { return groups_; }
  bool merge_equal = true;  // tests train equal rollouts one by one, too

 private:
  static constexpr std::int64_t scalars_of_leaf = 4;  // loss, Σ entropy, clipped tokens, dropped tokens
  struct Leaf {
    MicroBatch batch = {};
    std::vector<std::int64_t> rows = {}, targets = {};  // of its branches' tokens
    // Tokens of the rollouts, equal ones each by itself: the place in `rows`, behaviour log-probability, advantage.
    std::vector<std::int64_t> row_of = {};
    std::vector<double> behaviour = {}, advantages = {};
    std::vector<std::int64_t> starts = {0};  // of the rollouts among them
  };
  void add_leaves(const Prompt& prompt, const std::vector<Rollout>& group, std::span<const float> advantages,
                  std::int64_t stride);

  Onevision& model_;
  const Processor& processor_;
  const RecordFile& records_;
  PolicyOptions options_;
  std::vector<std::vector<Rollout>> groups_;
  std::vector<float> rewards_;  // as trained on
  std::vector<Leaf> leaves_;
  RolloutCounts counts_;
  std::int64_t steps_ = 0, tokens_ = 0, flat_ = 0, distinct_ = 0;
};

}  // namespace ov::rl
