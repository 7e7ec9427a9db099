// The keys of reinforcement learning.
#include "cli/keys.h"

namespace ov::cli {
std::vector<Key> rl_rows() {
  return {
      {"rl.data", "data", "", any, "rl rl-select",
       "prompts: records or conversations as JSON lines or an array, or records as Parquet (src/rl/records.h)",
       Resume::free},
      {"rl.before", "before", Strings{}, any, "rl-table", "predictions.jsonl of evaluations, before"},
      {"rl.after", "after", Strings{}, any, "rl-table", "and after, of the same questions, in the same order"},
      {"rl.templates", "templates", Strings{}, any, "rl rl-select", "those that are taken; none: all"},
      {"rl.keep", "keep", "", any, "rl", "kept.jsonl of rl-select: the records that are taken; empty: all",
       Resume::free},
      {"rl.prompt", "", "released", "released plain", "rl rl-select",
       "instruction and system message of the release, or the problem as it is"},
      {"rl.prompts", "", whole(32), Allowed(1, 1 << 20), "rl rl-select", "prompts of a step, or rolled out together"},
      {"rl.group", "rollouts", whole(16), Allowed(1, 1 << 16), "rl rl-select", "rollouts of a prompt"},
      {"rl.max_new_tokens", "max_new_tokens", whole(4096), at_least(1), "rl rl-select", "longest rollout"},
      {"rl.max_running", "", whole(64), at_least(1), "rl rl-select", "rollouts that are written at once"},
      {"rl.seed", "seed", whole(219), at_least(0), "rl rl-select", "of the order of prompts and of the draws"},
      {"rl.mode", "", "sync", "sync timesliced", "rl",
       "prompts are begun and answered between two updates, or rl.staleness updates ahead"},
      {"rl.staleness", "", whole(4), at_least(1), "rl", "timesliced: updates that a prompt may be begun ahead"},
      {"rl.most_groups", "", whole(256), at_least(1), "rl", "prompts that are answered at once"},
      {"rl.order", "", "records", "records pictures", "rl",
       "records one by one, or with all questions about a picture together"},
      {"rl.replay", "", Strings{}, any, "rl", "templates of another stage that are repeated; not among rl.templates"},
      {"rl.replay_share", "", 0.1, Allowed(0, 0.9), "rl", "of a step's prompts"},
      {"rl.flat_groups", "", "keep", "keep drop", "rl",
       "groups whose rollouts all earn the same: kept as in the release, or left out of the step"},
      {"rl.shuffle_rewards", "", false, any, "rl", "a control that must not learn: rewards change places in a step"},
      {"rl.clip_low", "", 0.2, Allowed(0, 1), "rl", "how far below 1 the ratio of policies counts"},
      {"rl.clip_high", "", 0.28, Allowed(0, 1e3), "rl", "how far above 1"},
      {"rl.behaviour_cap", "", 5.0, Allowed(0, 1e6), "rl",
       "tokens that the trainer holds this much likelier than the sampler are dropped"},
      {"rl.pass_reward", "", 0.5, Allowed(0, 2), "rl-select", "reward from which on a rollout passes"},
      {"rl.blind", "", false, any, "rl-select",
       "as many rollouts with the pictures hidden, beside the others: what guessing earns"},
      {"rl.grey", "", whole(128), Allowed(0, 255), "rl-select", "what hides a picture, of rl.blind"},
      {"rl.task_filter", "", true, any, "rl-select", "keep only sources with latent ability: rl.gap, rl.least_pass"},
      {"rl.gap", "", 0.1, Allowed(0, 1), "rl-select", "least pass@n - pass@1 of a source (no published value)"},
      {"rl.least_pass", "", 0.1, Allowed(0, 1), "rl-select", "least pass@n of a source (no published value)"},
      {"rl.reward_filter", "", "released", "released band off", "rl-select",
       "keep records by their mean reward: bands of the release by source, rl.low and rl.high for all, or any"},
      {"rl.low", "", 0.0, Allowed(-1, 2), "rl-select", "the mean reward of a kept record is above this"},
      {"rl.high", "", 0.6, Allowed(-1, 2), "rl-select", "and below this"},
  };
}

}  // namespace ov::cli
