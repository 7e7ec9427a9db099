#include "rl/buffer.h"

#include <algorithm>

#include "base/rng.h"
#include "train/checksums.h"

namespace ov::rl {

std::int64_t gate_capacity(const BufferOptions& o, std::int64_t version, std::int64_t accepted, std::int64_t running) {
  const __int128 ahead = (static_cast<__int128>(o.staleness) + version + 1) * o.prompts;  // any staleness is a number
  return static_cast<std::int64_t>(std::min<__int128>(o.most_groups - running, ahead - (accepted + running)));
}

std::string tokens_checksum(const Groups& groups) {
  ChecksumOfArrays sum;
  for (const auto& g : groups)
    for (const Rollout& r : g->rollouts) sum.add(r.ids.data(), std::ssize(r.ids));
  return hex16(sum.value);
}

RolloutSource::RolloutSource(const Processor& processor, const RecordFile& records, PromptOrder order,
                             const BufferOptions& options)
    : processor_(processor), records_(records), order_(std::move(order)), options_(options) {
  require_at_least(options.rollouts.group, 2, "rl.group");
  require_at_least(options.rollouts.max_new_tokens, 1, "rl.max_new_tokens");
  require_at_least(options.most_groups, 1, "rl.most_groups");
}

std::unique_ptr<Group> RolloutSource::make(std::int64_t number) {
  auto g = std::make_unique<Group>(Group{.record = &order_.at(number), .number = number});
  g->seed = mix64(options_.seed, static_cast<std::uint64_t>(number));
  g->rollouts.resize(static_cast<std::size_t>(options_.rollouts.group));
  return g;
}

Group& RolloutSource::begin() { return *groups_.emplace_back(make(begun_++)); }

std::int64_t RolloutSource::running() const {
  return std::count_if(groups_.begin(), groups_.end(), [](auto& g) { return !g->finished(); });
}

std::int64_t RolloutSource::room(std::int64_t version) const {
  const std::int64_t now = running();
  return gate_capacity(options_, version, begun_ - now, now);
}

Groups RolloutSource::oldest_finished() {
  Groups taken;
  for (auto at = groups_.begin(); at != groups_.end() && std::ssize(taken) < options_.prompts;) {
    if ((*at)->finished()) taken.push_back(std::move(*at)), at = groups_.erase(at);
    else ++at;
  }
  return taken;
}

void RolloutSource::complete(const Groups& groups, RolloutCounts& counts) const {
  std::vector<Group*> unread;
  for (const auto& g : groups) {
    if (g->prompt.input_ids.empty()) unread.push_back(g.get());
    score(*g, processor_.tokenizer(), options_.rollouts, counts);
  }
  make_prompts(unread, records_, processor_, options_.rollouts.style, options_.limits);
}

Json RolloutSource::state() const {
  Json groups = Json::array();
  for (const auto& g : groups_) {
    Json rollouts = Json::array();
    for (const Rollout& r : g->rollouts) rollouts.push(json_of(r));
    groups.push(Json::object({{"number", g->number}, {"rollouts", rollouts}}));
  }
  return Json::object({{"begun", begun_}, {"groups", groups}});
}

void RolloutSource::restore(const Json& state) {
  groups_.clear();
  begun_ = state.at("begun").as_int();
  for (const Json& of : state.at("groups").items()) {
    auto& g = groups_.emplace_back(make(of.at("number").as_int()));
    g->rollouts.clear();
    for (const Json& r : of.at("rollouts").items()) g->rollouts.push_back(rollout_of(r));
  }
}

RolloutBuffer::RolloutBuffer(const Onevision& model, const Processor& processor, const RecordFile& records,
                             PromptOrder order, const BufferOptions& options, Communicator& share)
    : RolloutSource(processor, records, std::move(order), options), model_(model), share_(share) {
  if (share.ranks() > 1 && options.staleness > 0)
    input_error("rl.staleness ", options.staleness, ": ranks that share the writing of rollouts are of mode sync");
}

Groups RolloutBuffer::take(std::int64_t version, RolloutCounts& counts) {
  counts = {};
  RolloutWriter writer(model_, options_.rollouts, version);
  const auto add = [&](std::vector<Group*> groups) {
    std::erase_if(groups, [&](const Group* g) { return g->number % share_.ranks() != share_.rank(); });
    make_prompts(groups, records_, processor_, options_.rollouts.style, options_.limits);
    for (Group* g : groups) writer.add(*g);
  };
  std::vector<Group*> open;
  for (const auto& g : groups_)
    if (!g->finished()) open.push_back(g.get());
  add(open);
  for (bool more = true;;) {
    if (std::ssize(groups_) - running() >= options_.prompts) break;
    std::vector<Group*> fresh;
    for (std::int64_t room = this->room(version); room > 0; --room) fresh.push_back(&begin());
    add(fresh);
    // With fewer than b groups finished, the gate always leaves something to write: other ranks', where they share.
    if (!more && fresh.empty()) {
      if (share_.ranks() > 1 && std::ssize(groups_) >= options_.prompts) break;
      machine_error("rl: before update ", version + 1, " nothing is left to write, with ",
                    std::ssize(groups_) - running(), " of ", options_.prompts, " groups finished: ", begun_, " begun, ",
                    running(), " running");
    }
    more = writer.step();
  }
  counts.add(writer.stats());
  if (share_.ranks() > 1) exchange(counts);
  Groups taken = oldest_finished();
  complete(taken, counts);
  for (const auto& g : groups_) g->prompt = {};  // made again when it is needed: pictures are large
  return taken;
}

// Every rank's groups, scored, to all.
void RolloutBuffer::exchange(RolloutCounts& counts) {
  Json own = Json::array();
  RolloutCounts scored;  // told once, when they are taken
  for (const auto& g : groups_) {
    if (g->number % share_.ranks() != share_.rank()) continue;
    score(*g, processor_.tokenizer(), options_.rollouts, scored);
    Json rollouts = Json::array();
    for (const Rollout& r : g->rollouts) rollouts.push(json_of(r));
    own.push(rollouts);
  }
  const std::string told = Json::object({{"groups", own}, {"counts", counts.written()}}).dump();
  counts = {};
  for (int r = 0; r < share_.ranks(); ++r) {
    const Json theirs = Json::parse(broadcast_text(share_, told, r), cat("rank ", r));
    std::size_t next = 0;
    for (const auto& g : groups_) {
      if (g->number % share_.ranks() != r) continue;
      g->rollouts.clear();
      for (const Json& rollout : theirs.at("groups")[next].items()) g->rollouts.push_back(rollout_of(rollout));
      ++next;
    }
    counts.add_written(theirs.at("counts"));
  }
}

}  // namespace ov::rl
