#include "rl/replay.h"

#include <algorithm>

#include "base/sha256.h"

namespace ov::rl {

ReplayedRollouts::ReplayedRollouts(const Onevision& model, const Processor& processor, const RecordFile& records,
                                   PromptOrder order, const BufferOptions& options, const std::string& log)
    : RolloutSource(processor, records, std::move(order), options),
      model_(model),
      log_(log),
      events_(read_event_log(log, {.prompts = options.prompts,
                                   .group = options.rollouts.group,
                                   .staleness = options.staleness,
                                   .most_groups = options.most_groups,
                                   .max_new_tokens = options.rollouts.max_new_tokens})) {}

std::string ReplayedRollouts::fingerprint() const {
  std::string all;
  for (const StepEvents& e : events_) all += e.written.dump() + "\n";
  return sha256(all);
}

Json ReplayedRollouts::events(const Groups&, std::int64_t version) const {
  return events_.at(static_cast<std::size_t>(version)).written;
}

Groups ReplayedRollouts::take(std::int64_t version, RolloutCounts& counts) {
  counts = {};
  if (version >= steps())
    input_error(log_, ": has ", steps(), " steps, and train.steps is more; a replay ends where its log ends");
  const StepEvents& events = events_[static_cast<std::size_t>(version)];
  const auto other = [&](const auto&... what) {
    machine_error("rl: ", what..., " before update ", version + 1, ": ", log_, " is the log of another run");
  };
  while (begun_ < events.begun) begin();
  const auto find = [&](std::int64_t number) {
    const auto at = std::find_if(groups_.begin(), groups_.end(), [&](auto& g) { return g->number == number; });
    if (at == groups_.end()) other("group ", number, " is not under way");
    return at;
  };
  RolloutWriter writer(model_, options_.rollouts, version);
  struct Wanted {
    Group* group;
    std::vector<std::int64_t> tokens, before;
  };
  std::vector<Wanted> wanted;
  std::vector<Group*> groups;
  for (const StepEvents::Drawn& drawn : events.drawn) {
    Wanted w{find(drawn.number)->get(), drawn.tokens, {}};
    for (const Rollout& r : w.group->rollouts) w.before.push_back(std::ssize(r.ids));
    groups.push_back(w.group), wanted.push_back(std::move(w));
  }
  make_prompts(groups, records_, processor_, options_.rollouts.style, options_.limits);
  for (const Wanted& w : wanted) writer.add(*w.group, w.tokens);
  while (writer.step()) {}
  for (const Wanted& w : wanted)
    for (std::size_t i = 0; i < w.tokens.size(); ++i)
      if (const std::int64_t n = std::ssize(w.group->rollouts[i].ids) - w.before[i]; n != w.tokens[i])
        other("rollout ", i, " of group ", w.group->number, " got ", n, " tokens and not ", w.tokens[i]);
  Groups taken;
  for (const std::int64_t number : events.taken) {
    const auto at = find(number);
    if (!(*at)->finished()) other("group ", (*at)->number, " is not finished");
    taken.push_back(std::move(*at)), groups_.erase(at);
  }
  if (tokens_checksum(taken) != events.tokens) other("the groups taken have other tokens");
  counts.add(writer.stats());
  complete(taken, counts);
  for (const auto& g : groups_) g->prompt = {};
  return taken;
}

}  // namespace ov::rl
