#include "rl/prompt_order.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/hash.h"
#include "base/rng.h"
#include "base/text.h"

namespace ov::rl {

PromptOrder::PromptOrder(const RecordFile& records, const OrderOptions& options) : options_(options) {
  require_at_least(options.prompts, 1, "rl.prompts");
  for (const Record& r : records.records()) {
    const bool again = std::find(options.replay.begin(), options.replay.end(), r.group) != options.replay.end();
    Units& units = again ? replayed_ : units_;
    if (options.by_picture && !units.empty() && units.back().back()->where == r.where) units.back().push_back(&r);
    else units.push_back({&r});
  }
  if (units_.empty()) input_error("rl.replay: every prompt is of these templates; none is left to train");
  std::set<std::string> groups;
  for (const Record& r : records.records()) groups.insert(r.group);
  for (const std::string& t : options.replay)
    if (!groups.count(t))
      input_error("rl.replay: no prompt of the template '", t, "'",
                  did_you_mean(t, std::vector<std::string>(groups.begin(), groups.end())));
  if (replayed_.empty() || options.replay_share <= 0) return;
  const std::int64_t P = options.prompts;
  if (P < 2)
    input_error("rl.replay with rl.prompts 1: a step has no room for a prompt that is repeated beside its own");
  again_ = std::clamp<std::int64_t>(std::llround(static_cast<double>(P) * options.replay_share), 1, P - 1);
}

// Prompts [step count, (step + 1) count) of one kind. Every round through its units has an order of its own.
void PromptOrder::append(const Units& units, std::int64_t step, std::int64_t count, std::uint64_t seed) {
  std::int64_t records = 0, round = -1;
  for (const auto& unit : units) records += std::ssize(unit);
  std::vector<const Record*> order;
  for (std::int64_t i = step * count; i < (step + 1) * count; ++i) {
    if (std::exchange(round, i / records) != i / records) {
      order.clear();
      const Permutation permuted(std::ssize(units), seed, static_cast<std::uint64_t>(round));
      for (std::int64_t u = 0; u < std::ssize(units); ++u)
        for (const Record* r : units[static_cast<std::size_t>(permuted(u))]) order.push_back(r);
    }
    chosen_.push_back(order[static_cast<std::size_t>(i % records)]);
  }
}

const Record& PromptOrder::at(std::int64_t prompt) {
  const std::int64_t P = options_.prompts;
  if (std::exchange(step_, prompt / P) != prompt / P) {
    chosen_.clear();
    append(units_, step_, P - again_, options_.seed);
    append(replayed_, step_, again_, options_.seed ^ fnv1a("replay"));
  }
  return *chosen_[static_cast<std::size_t>(prompt % P)];
}

}  // namespace ov::rl
