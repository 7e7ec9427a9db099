// Rollouts between updates: how far ahead they are begun, what is kept of them, and a log that says so.
#include "rl/replay.h"

#include <doctest/doctest.h>

#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

// Answers of many lengths, 8 tokens at most.
struct Written : Prepared {
  explicit Written(const Lessons& lessons) : Prepared(lessons, 4, 8) {
    for (std::int64_t id = 0; id < 60; ++id) options.rollouts.stop.push_back(id);
  }
  RolloutBuffer buffer() const {
    return {*model, processor, records, PromptOrder(records, options.order), buffer_options(options)};
  }
  ReplayedRollouts replay(const std::string& log) const {
    return {*model, processor, records, PromptOrder(records, options.order), buffer_options(options), log};
  }
};

// The log of one step in which everything was begun and written that was taken.
Json events_of(const Groups& taken) {
  Json drawn = Json::array(), numbers = Json::array();
  for (const auto& g : taken) {
    std::vector<std::int64_t> tokens;
    for (const Rollout& r : g->rollouts) tokens.push_back(std::ssize(r.ids));
    drawn.push(std::vector<Json>{g->number, tokens}), numbers.push(g->number);
  }
  return Json::object(
      {{"begun", std::ssize(taken)}, {"taken", numbers}, {"tokens", tokens_checksum(taken)}, {"drawn", drawn}});
}

}  // namespace

TEST_CASE("rl: a replay has the tokens of its log, finds out what was edited by hand, and ends where the log ends") {
  const Lessons lessons;
  const Written world(lessons);
  RolloutCounts counts;
  RolloutBuffer buffer = world.buffer();
  const Groups taken = buffer.take(0, counts);
  const auto log = [&](const Json& events) {
    write_durably(lessons.path("log.jsonl"),
                  Json::object({{"type", "step"}, {"step", 1}, {"events", events}}).dump() + "\n");
    return world.replay(lessons.path("log.jsonl"));
  };
  const Json events = events_of(taken);
  ReplayedRollouts same = log(events);
  CHECK(tokens_checksum(same.take(0, counts)) == tokens_checksum(taken));
  CHECK(contains(thrown([&] { same.take(1, counts); }), "has 1 steps, and train.steps is more"));
  const auto other = [&](const Json& edited, const std::string& what) {
    ReplayedRollouts of = log(edited);
    CHECK(of.fingerprint() != same.fingerprint());
    const std::string said = thrown([&] { of.take(0, counts); }, Exit::machine_failed);
    CHECK_MESSAGE(contains(said, what), said);
    CHECK(contains(said, "is the log of another run"));
  };
  Json edited = events;
  edited.set("tokens", "0");
  other(edited, "rl: the groups taken have other tokens before update 1");
  edited = events;
  edited.set("taken", std::vector<std::int64_t>{1, 0, 2});
  other(edited, "rl: the groups taken have other tokens before update 1");
  // An answer that ended by itself got one token more, or one less.
  std::size_t group = 0, rollout = 0;
  while (!taken[group]->rollouts[rollout].stopped || taken[group]->rollouts[rollout].ids.size() == 8)
    if (++rollout == 4) rollout = 0, REQUIRE(++group < taken.size());
  const std::int64_t n = std::ssize(taken[group]->rollouts[rollout].ids);
  for (const std::int64_t by : {1, -1}) {
    Json drawn = Json::array();
    for (std::size_t g = 0; g < taken.size(); ++g) {
      std::vector<std::int64_t> tokens;
      for (std::size_t i = 0; i < 4; ++i)
        tokens.push_back(std::ssize(taken[g]->rollouts[i].ids) + (g == group && i == rollout ? by : 0));
      drawn.push(std::vector<Json>{taken[g]->number, tokens});
    }
    edited = events;
    edited.set("drawn", drawn);
    other(edited, by > 0 ? cat("rl: rollout ", rollout, " of group ", group, " got ", n, " tokens and not ", n + 1)
                         : cat("rl: group ", group, " is not finished before update 1"));
  }
}

TEST_CASE("rl: timesliced, as many groups are begun as the gate allows, and what is restored is all there is") {
  const Lessons lessons;
  Written world(lessons);
  world.options.staleness = 2, world.options.rollouts.max_running = 4;  // a group at a time
  RolloutBuffer buffer = world.buffer();
  RolloutCounts counts;
  for (std::int64_t v = 0; v < 4; ++v) {
    buffer.take(v, counts);
    CHECK(buffer.state().at("begun").as_int() == (2 + v + 1) * 3);
  }
  const Json state = buffer.state();
  CHECK(state.at("groups").size() == 6);
  buffer.restore(state);
  CHECK(buffer.state().dump() == state.dump());
  RolloutBuffer fresh = world.buffer();
  fresh.restore(state);
  CHECK(tokens_checksum(fresh.take(4, counts)) == tokens_checksum(buffer.take(4, counts)));
}

TEST_CASE("rl: rollouts are stamped with the number of their answer: no two of a group share their draws") {
  const Lessons lessons;
  Written world(lessons);
  RolloutBuffer buffer = world.buffer();
  RolloutCounts counts;
  for (const auto& g : buffer.take(0, counts)) {
    std::size_t other = 0;
    for (const Rollout& r : g->rollouts) other += r.ids != g->rollouts[0].ids;
    CHECK(other > 0);
  }
}

}  // namespace ov::test
