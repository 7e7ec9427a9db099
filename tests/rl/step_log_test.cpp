// What a step of RL says of its answers in run.jsonl, and what its checksum tells apart.
#include <doctest/doctest.h>

#include <set>

#include "rl/losses/policy.h"
#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

// Groups of prompts 0, 3, 6 ... are flat; of the others some verifiers give up.
Reward mixed(const std::string& text, const Group& g) {
  if (g.number % 3 == 0) return {.reward = 0.25, .accuracy = 0.25};
  if (text.size() % 3 == 0) return {.raised = "three"};
  return {.reward = text.size() % 2 ? 1.0 : 0.0};
}

struct Sums {
  double reward = 0, length = 0, stopped = 0, stale = 0, drawn = 0, flat = 0, distinct = 0, all = 0, raised = 0,
         trained = 0;
};

Sums sums_of(const PolicyObjective& o, std::int64_t version, bool drop) {
  Sums s;
  for (const auto& group : o.groups()) {
    std::set<double> rewards;
    std::set<std::vector<std::int64_t>> texts;
    double tokens = 0;
    for (const Rollout& r : group->rollouts) {
      ++s.all, s.reward += r.reward.reward, s.length += static_cast<double>(r.ids.size()), s.stopped += r.stopped;
      s.raised += !r.reward.raised.empty(), tokens += static_cast<double>(r.ids.size());
      for (const std::int64_t v : r.versions) s.stale += static_cast<double>(version - v), ++s.drawn;
      rewards.insert(r.reward.reward), texts.insert(r.ids);
    }
    s.flat += rewards.size() == 1;
    if (drop && rewards.size() == 1) continue;
    s.distinct += static_cast<double>(texts.size()), s.trained += tokens;
  }
  return s;
}

}  // namespace

TEST_CASE("rl: what a step says of its answers is what they are, with flat groups left out and answers of two ages") {
  const Lessons lessons;
  Prepared world(lessons, 4, 6);
  for (std::int64_t id = 0; id < 60; ++id) world.options.rollouts.stop.push_back(id);  // answers of many lengths
  world.options.staleness = 1, world.options.drop_flat = true, world.options.rollouts.reward = mixed;
  PolicyObjective o = world.objective();
  StepEngine engine(o, short_run(4));
  Sums all;
  for (std::int64_t v = 0; v < 4; ++v) {
    const StepReport report = engine.step();
    const Sums s = sums_of(o, v, true);
    const auto says = [&](const char* key, double expected) {
      INFO(std::string(key), " of step ", v + 1);
      CHECK(report.parts.at(key).as_double() == doctest::Approx(expected));
    };
    says("reward", s.reward / s.all), says("length", s.length / s.all), says("stopped", s.stopped / s.all);
    says("staleness", s.stale / s.drawn), says("flat_groups", s.flat / 3), says("distinct", s.distinct / s.all);
    says("raised", s.raised);
    CHECK(static_cast<double>(report.labelled) == s.trained);
    const Json* reasons = report.parts.find("raised_of");
    CHECK((reasons ? reasons->at("three").as_double() : 0) == s.raised);
    CHECK(contains(report.note, "all groups flat") == (s.flat == 3));
    all.stale += s.stale, all.flat += s.flat, all.raised += s.raised, all.stopped += s.stopped, all.all += s.all;
    all.trained += s.trained, all.drawn += s.drawn;
  }
  REQUIRE(all.stale > 0);
  REQUIRE(all.flat > 0);
  REQUIRE(all.raised > 0);
  REQUIRE(all.stopped < all.all);
  REQUIRE(all.trained < all.drawn);
}

TEST_CASE("rl: a step of which every group is flat says so, and that nothing is learned where such are left out") {
  const Lessons lessons;
  for (const bool all : {false, true})
    for (const bool drop : {false, true}) {
      Prepared world(lessons, 4, 4);
      world.options.drop_flat = drop;  // kept, they are measured against the other groups
      world.options.rollouts.reward = [&](const std::string&, const Group& g) -> Reward {
        static int calls = 0;
        return {.reward = all || g.number == 0 ? 1.0 : static_cast<double>(++calls % 2)};
      };
      PolicyObjective o = world.objective();
      StepEngine engine(o, short_run(1));
      const StepReport report = engine.step();
      CHECK(report.parts.at("flat_groups").as_double() == doctest::Approx(all ? 1 : 1.0 / 3));
      CHECK(contains(report.note, "all groups flat") == all);
      CHECK(contains(report.note, "nothing learned") == (all && drop));
    }
}

TEST_CASE("rl: the checksum of a step's data tells other rewards of the same answers apart") {
  const Lessons lessons;
  Prepared world(lessons, 4, 4);
  const auto checksum = [&](double scale) {
    world.options.rollouts.reward = [=](const std::string& text, const Group&) -> Reward {
      return {.reward = scale * static_cast<double>(text.size())};
    };
    PolicyObjective o = world.objective();
    o.prepare(0);
    return o.batch_checksum();
  };
  CHECK(checksum(1) == checksum(1));
  CHECK(checksum(1) != checksum(2));
}

TEST_CASE("rl: the entropy of a token is in nats: of equal logits the logarithm of their number") {
  Prompt prompt;
  prompt.input_ids = {1, 2};
  Branches row(prompt);
  row.add(prompt, {3});
  std::vector<double> entropies;
  const std::vector<double> logprobs =
      branch_logprobs(row, Tensor::of(std::vector<float>(8, 2.5f), {1, 8}), &entropies);
  CHECK(logprobs[0] == doctest::Approx(-std::log(8.0)));
  CHECK(entropies.at(0) == doctest::Approx(std::log(8.0)));
  for (const std::int64_t target : {-1, 8}) {
    const std::vector<std::int64_t> targets = {target};
    CHECK(contains(thrown([&] {
                     token_statistics(Tensor::of(std::vector<float>(8, 2.5f), {1, 8}), targets);
                   }),
                   cat("target ", target, " is not below 8")));
  }
}

TEST_CASE("rl: the distance to the reference model is the same, in however many rows it reads the answers of a group") {
  const Lessons lessons;
  Prepared world(lessons, 5, 6);
  const auto reference = random_model(byte_config(), 7);
  world.options.reference = reference.get(), world.options.advantages.kl_ctl = 0.1;
  const auto distance = [&](std::int64_t most) {
    world.options.max_tokens = most;
    PolicyObjective o = world.objective();
    o.prepare(0);
    return o.losses(std::vector<double>(static_cast<std::size_t>(o.scalars()))).parts.at("reference_kl").as_double();
  };
  const double whole = distance(32768);
  CHECK(std::abs(whole) > 1e-3);
  CHECK(distance(1) == doctest::Approx(whole).epsilon(1e-4));  // f32 sums of rows of other lengths
}

}  // namespace ov::test
