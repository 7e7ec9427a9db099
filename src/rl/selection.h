// Selection by discrepancy: which tasks and which records are worth RL, told from n rollouts of each with the starting
// model. Two filters, both off a list of rewards; what made the rollouts is not asked here.
//
//   pass@k of a record with c passes of n = 1 - C(n-c, k) / C(n, k)           (Chen et al. 2021, unbiased)
//   task filter    keep a source when pass@n - pass@1 >= gap and pass@n >= least_pass: latent ability. The idea is
//                  published, its numbers are not: ours
//   reward filter  keep a record when low < mean reward < high, both strictly. Released: (0, 0.6) for most sources
#pragma once
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"

namespace ov::rl {

double pass_at(std::int64_t n, std::int64_t passes,
               std::int64_t k);  // input_error unless 1 <= k <= n, 0 <= passes <= n

struct RolloutRecord {
  std::string id, source, group;   // group: its template, or whatever else is to be told apart
  std::vector<double> rewards;     // of its rollouts
  std::vector<double> blind = {};  // of as many from the same seeds with the pictures hidden, or none
};

struct RewardBand {
  double low = 0, high = 0.6;
};
// The band that the release has for a source: (0, 0.6), or everything for those that it does not filter.
RewardBand released_band(const std::string& source);

struct SelectionOptions {
  double pass_reward = 0.5;            // a rollout passes at this reward and above; graded rewards need a threshold
  bool task_filter = true;             // gap and least_pass decide
  double gap = 0.1, least_pass = 0.1;  // no published value
  bool reward_filter = true;
  bool released_bands = true;  // else `band` for all
  RewardBand band = {};
  std::map<std::string, RewardBand> bands = {};  // of single sources, before either
};

struct PassRates {
  std::int64_t records = 0, rollouts = 0, passes = 0;
  double pass_1 = 0, pass_n = 0, mean_reward = 0;
  // The same of the rollouts that saw no picture: what guessing earns. Not a number where there are none.
  double blind_1 = std::nan(""), blind_n = std::nan("");
  std::vector<std::int64_t> histogram =
      std::vector<std::int64_t>(11);  // records by mean reward: [0, 0.1), ... and 1 up
};

struct Selection {
  std::vector<std::size_t> kept;     // records, in their order
  std::vector<std::string> reasons;  // [records], "" for those kept
  std::map<std::string, PassRates> by_source, by_group;
  std::map<std::string, std::int64_t> dropped;  // by reason
  std::map<std::string, std::int64_t> raised;   // rollouts that earn 0 since a verifier gave up, by reason
  // Groups for which the task filter's numbers hold, named whether it decides or not.
  std::vector<std::string> latent;
  Json manifest;                     // all of it but the records' own numbers, with the options
  std::vector<PassRates> by_record;  // [records]
  // A line a record: {"id", "source", "template", "pass_1", "pass_n", "mean_reward", "blind_1" and "blind_n" where
  // there are such rollouts, "kept", "reason" of those that are not}. The records that `select` was given.
  std::string record_lines(std::span<const RolloutRecord> records) const;
};

// A record with one rollout at most is kept: there is nothing to tell it by (as in the release). input_error for a
// record without an id, or two with the same.
Selection select(std::span<const RolloutRecord> records, const SelectionOptions& options);

}  // namespace ov::rl
