// Runs of mode disaggregated as ranks of this machine, for tests: started, killed, replayed, and what their logs say.
#pragma once
#include <doctest/doctest.h>

#include <csignal>
#include <set>
#include <thread>

#include "rl/disaggregated.h"
#include "tests/comm/forked_ranks.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

inline RlJob apart(const Lessons& lessons, const std::string& out, std::int64_t steps = 4) {
  RlJob j = lessons.job(out, steps);
  j.mode = Mode::disaggregated;
  j.policy.staleness = 2;
  // Updates come while answers are half written: a verifier takes its time, and groups are not written one by one.
  j.policy.rollouts.max_new_tokens = 24, j.policy.rollouts.max_running = 6;
  j.policy.rollouts.reward = [](const std::string& text, const Group&) -> Reward {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return {.reward = text.size() % 2 ? 1.0 : 0.0};
  };
  return j;
}

inline std::vector<Ended> run_ranks(int n, const RlJob& given, double timeout = 60,
                                    const std::function<void(const std::vector<pid_t>&)>& started = {},
                                    const std::function<void(ProcessRanks&)>& first = {}) {
  return in_ranks(
      n, timeout,
      [&](ProcessRanks& ranks) {
        if (first) first(ranks);
        RlJob job = given;
        job.ranks = &ranks;
        silently([&] { return run_rl(job); });
        ranks.barrier();
      },
      started);
}

inline void replay(const RlJob& of, const std::string& out, int n = 1) {
  RlJob job = of;
  job.events = of.out + "/run.jsonl", job.out = out;
  if (n == 1) {
    silently([&] { return run_rl(job); });
    return;
  }
  for (const Ended& e : run_ranks(n, job)) CHECK_MESSAGE(e.exit == 0, e.error);
}

// Every step's events, in order.
inline std::vector<Json> events_of(const std::string& out) {
  std::vector<Json> all;
  JsonlReader lines(out + "/run.jsonl");
  for (Json line; lines.next(&line);)
    if (line.at("type").as_string() == "step") all.push_back(line.at("events"));
  return all;
}

// Of every step: how many tokens its rollouts' prompts have, read by the engine or not again.
inline std::vector<std::int64_t> prompt_tokens(const std::string& out) {
  std::vector<std::int64_t> all;
  JsonlReader lines(out + "/run.jsonl");
  for (Json line; lines.next(&line);)
    if (line.at("type").as_string() == "step")
      all.push_back(line.at("prompt_tokens").as_int() + line.at("shared_tokens").as_int());
  return all;
}

// Nothing trained twice, nothing lost, and the gate held: every group that was begun was taken once or is under way.
inline void check_whole(const RlJob& job) {
  const std::vector<Json> events = events_of(job.out);
  REQUIRE(std::ssize(events) == job.train.steps);
  std::set<std::int64_t> taken;
  for (std::size_t v = 0; v < events.size(); ++v) {
    const Json& e = events[v];
    CHECK(e.at("begun").as_int() <=
          (job.policy.staleness + static_cast<std::int64_t>(v) + 1) * job.policy.order.prompts);
    CHECK(e.at("taken").size() == static_cast<std::size_t>(job.policy.order.prompts));
    for (const Json& number : e.at("taken").items()) CHECK(taken.insert(number.as_int()).second);
  }
  const Json state = Json::read(checkpoints(job.out).back() + "/state.json");
  std::set<std::int64_t> all = taken;
  std::string text = state.dump();
  const Json& rollouts = state.at("data").at("rollouts");
  for (const Json& g : rollouts.at("groups").items()) CHECK(all.insert(g.at("number").as_int()).second);
  CHECK(rollouts.at("begun").as_int() == std::ssize(all));
  CHECK(*all.rbegin() == std::ssize(all) - 1);
}

// Kills `victim` when the log of a run has `steps` steps.
inline auto kill_after(const std::string& out, std::size_t steps, std::size_t victim, int signal = SIGKILL) {
  return [=](const std::vector<pid_t>& children) {
    for (int i = 0; i < 6000; ++i) {
      const std::string log = out + "/run.jsonl";
      if (path_exists(log)) {
        const std::string text = read_file(log);
        std::size_t found = 0;
        for (std::size_t at = 0; (at = text.find("\"type\":\"step\"", at)) != text.npos; ++at) ++found;
        if (found >= steps) break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ::kill(children[victim], signal);
  };
}

}  // namespace ov::test
