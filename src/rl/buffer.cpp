#include "rl/buffer.h"

#include <algorithm>

#include "base/rng.h"

namespace ov::rl {

std::int64_t gate_capacity(const BufferOptions& o, std::int64_t version, std::int64_t accepted, std::int64_t running) {
  return std::min(o.most_groups - running, (o.staleness + version + 1) * o.prompts - (accepted + running));
}

RolloutBuffer::RolloutBuffer(const Onevision& model, const Processor& processor, const RecordFile& records,
                             PromptOrder order, const BufferOptions& options)
    : model_(model), processor_(processor), records_(records), order_(std::move(order)), options_(options) {
  require_at_least(options.rollouts.group, 2, "rl.group");
  require_at_least(options.rollouts.max_new_tokens, 1, "rl.max_new_tokens");
  require_at_least(options.most_groups, 1, "rl.most_groups");
}

std::vector<std::unique_ptr<Group>> RolloutBuffer::take(std::int64_t version, RolloutCounts& counts) {
  counts = {};
  RolloutWriter writer(model_, options_.rollouts, version);
  const auto add = [&](std::span<Group* const> groups) {
    make_prompts(groups, records_, processor_, options_.rollouts.style, options_.limits);
    for (Group* g : groups) writer.add(*g);
  };
  std::vector<Group*> open;
  for (const auto& g : groups_)
    if (!g->finished()) open.push_back(g.get());
  add(open);
  for (bool more = true;;) {
    const std::int64_t running = std::count_if(groups_.begin(), groups_.end(), [](auto& g) { return !g->finished(); });
    const std::int64_t waiting = std::ssize(groups_) - running, accepted = begun_ - running;
    if (waiting >= options_.prompts) break;
    std::vector<Group*> fresh;
    for (std::int64_t room = gate_capacity(options_, version, accepted, running); room > 0; --room, ++begun_) {
      auto g = std::make_unique<Group>(Group{.record = &order_.at(begun_), .number = begun_});
      g->seed = mix64(options_.seed, static_cast<std::uint64_t>(begun_));
      fresh.push_back(g.get()), groups_.push_back(std::move(g));
    }
    add(fresh);
    // With fewer than b groups finished, the gate always leaves something to write.
    if (!more && fresh.empty())
      machine_error("rl: before update ", version + 1, " nothing is left to write, with ", waiting, " of ",
                    options_.prompts, " groups finished: ", begun_, " begun, ", running, " running");
    more = writer.step();
  }
  std::vector<std::unique_ptr<Group>> taken;
  for (auto at = groups_.begin(); std::ssize(taken) < options_.prompts;) {
    if (!(*at)->finished()) {
      ++at;
      continue;
    }
    taken.push_back(std::move(*at)), at = groups_.erase(at);
  }
  std::vector<Group*> unread;  // were finished before this step
  for (const auto& g : taken) {
    if (g->prompt.input_ids.empty()) unread.push_back(g.get());
    score(*g, processor_.tokenizer(), options_.rollouts.style, counts);
  }
  make_prompts(unread, records_, processor_, options_.rollouts.style, options_.limits);
  const EngineStats stats = writer.stats();
  counts.prompt_tokens = stats.prompt_tokens, counts.shared_tokens = stats.shared_tokens;
  counts.new_tokens = stats.new_tokens;
  for (const auto& g : groups_) g->prompt = {};  // made again when it is needed: pictures are large
  return taken;
}

Json RolloutBuffer::state() const {
  Json groups = Json::array();
  for (const auto& g : groups_) {
    Json rollouts = Json::array();
    for (const Rollout& r : g->rollouts)
      rollouts.push(Json::object({{"ids", r.ids},
                                  {"logprobs", r.logprobs},
                                  {"versions", r.versions},
                                  {"stopped", r.stopped},
                                  {"finished", r.finished}}));
    groups.push(Json::object({{"number", g->number}, {"rollouts", rollouts}}));
  }
  return Json::object({{"begun", begun_}, {"groups", groups}});
}

void RolloutBuffer::restore(const Json& state) {
  groups_.clear();
  begun_ = state.at("begun").as_int();
  const auto integers = [](const Json& list) {
    std::vector<std::int64_t> out;
    for (const Json& v : list.items()) out.push_back(v.as_int());
    return out;
  };
  for (const Json& of : state.at("groups").items()) {
    const std::int64_t number = of.at("number").as_int();
    auto g = std::make_unique<Group>(Group{.record = &order_.at(number), .number = number});
    g->seed = mix64(options_.seed, static_cast<std::uint64_t>(number));
    for (const Json& r : of.at("rollouts").items()) {
      Rollout& rollout = g->rollouts.emplace_back();
      rollout.ids = integers(r.at("ids")), rollout.versions = integers(r.at("versions"));
      for (const Json& p : r.at("logprobs").items()) rollout.logprobs.push_back(p.as_double());
      rollout.stopped = r.at("stopped").as_bool(), rollout.finished = r.at("finished").as_bool();
    }
    groups_.push_back(std::move(g));
  }
}

}  // namespace ov::rl
