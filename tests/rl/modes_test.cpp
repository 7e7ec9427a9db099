// RL as runs: gates G5, G7, G8 and G9 of the specification, and runs that are killed.
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "tests/devices/sim_device.h"
#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

// One token an answer, and a letter earns 1: what a random model can learn in a few steps.
struct Letters : Prepared {
  Letters(const Lessons& lessons, std::uint64_t seed, bool shuffled) : Prepared(lessons, 24, 1) {
    options.order.seed = seed, options.shuffle_rewards = shuffled;
  }
  // Mean rewards of the first and the last four of 12 steps.
  std::pair<double, double> run() {
    PolicyObjective o = objective();
    TrainOptions train = short_run(12);
    train.schedule.peak = train.schedule.min = 1e-3;
    StepEngine engine(o, train);
    double first = 0, last = 0;
    for (int i = 0; i < 12; ++i) {
      const double reward = engine.step().parts.at("reward").as_double() / 4;
      if (i < 4) first += reward;
      if (i >= 8) last += reward;
    }
    return {first, last};
  }
};

}  // namespace

TEST_CASE(
    "rl, G5: timesliced, the gate holds, and a token's log-probability is that of the weights it is stamped with") {
  const Lessons lessons;
  Prepared world(lessons, 4, 8);
  for (std::int64_t id = 0; id < 40; ++id) world.options.rollouts.stop.push_back(id);  // answers of many lengths
  world.options.staleness = 2;
  PolicyObjective objective = world.objective();
  StepEngine engine(objective, short_run(6));
  std::vector<std::unique_ptr<Onevision>> versions;
  std::map<std::int64_t, std::int64_t> lags;
  std::int64_t mixed = 0;
  for (std::int64_t v = 0; v < 6; ++v) {
    versions.push_back(random_model(byte_config()));
    const Tensor now = world.model->parameters().values();
    std::memcpy(versions.back()->parameters().values().data<float>(), now.data<float>(), now.nbytes());
    const StepReport report = engine.step();
    CHECK(objective.state().at("rollouts").at("begun").as_int() <= (2 + v + 1) * 3);
    REQUIRE(objective.groups().size() == 3);
    std::int64_t before = -1;
    for (const auto& group : objective.groups()) {
      CHECK(group->number > before);
      before = group->number;
      for (const Rollout& r : group->rollouts) {
        mixed += r.versions.front() != r.versions.back();
        std::map<std::int64_t, std::vector<double>> scored;  // by version: of every token of prompt and answer
        for (const std::int64_t stamp : r.versions) {
          ++lags[v - stamp];
          if (!scored.emplace(stamp, std::vector<double>()).second) continue;
          Engine fresh(*versions[static_cast<std::size_t>(stamp)], {});
          std::vector<std::int64_t> ids = group->prompt.input_ids;
          ids.insert(ids.end(), r.ids.begin(), r.ids.end());
          std::vector<Grid> grids;
          for (const auto& g : group->prompt.grids) grids.push_back({g[0], g[1], g[2]});
          fresh.submit({.prompt = ids,
                        .pictures = split_pictures(group->prompt.pixel_values, grids),
                        .sampling = {.top_logprobs = 0},
                        .max_new_tokens = 1,
                        .prompt_logprobs = true,
                        .token = [&, stamp](const Token& t) {
                          scored[stamp].push_back(t.logprob);
                          return true;
                        }});
          fresh.run();
        }
        for (std::size_t t = 0; t < r.ids.size(); ++t)
          CHECK(r.logprobs[t] == scored.at(r.versions[t])[group->prompt.input_ids.size() - 1 + t]);
      }
    }
    double stale = 0, tokens = 0;
    for (const auto& [lag, n] : report.parts.at("lags").members())
      stale += std::stod(lag) * n.as_double(), tokens += n.as_double();
    CHECK(report.parts.at("staleness").as_double() == doctest::Approx(stale / tokens));
  }
  std::string histogram;
  for (const auto& [lag, n] : lags) histogram += cat(" ", lag, ":", n);
  MESSAGE("tokens by version lag:", histogram);
  CHECK(lags.rbegin()->first > 0);
  CHECK(lags.begin()->first >= 0);
  CHECK(mixed > 0);
}

TEST_CASE("rl: the gate counts what runs, what was accepted and how many may run at once") {
  BufferOptions o{.prompts = 8, .staleness = 4, .most_groups = 64};
  CHECK(gate_capacity(o, 0, 0, 0) == 40);
  CHECK(gate_capacity(o, 0, 8, 32) == 0);
  CHECK(gate_capacity(o, 1, 8, 32) == 8);
  o.most_groups = 33;
  CHECK(gate_capacity(o, 1, 8, 32) == 1);
  o.staleness = 0;
  CHECK(gate_capacity(o, 0, 0, 0) == 8);
  CHECK(gate_capacity(o, 3, 32, 0) == 0);
  o.staleness = INT64_MAX, o.prompts = 1 << 20;  // as far ahead as may be
  CHECK(gate_capacity(o, 3, 32, 1) == 32);
}

TEST_CASE("rl: an answer that is broken off and goes on with the same weights has the same bits") {
  const Lessons lessons;
  Prepared world(lessons, 4, 8);
  const auto write = [&](std::int64_t passes) {
    Group g{.record = &world.records.records()[0], .seed = 7};
    Group* all[] = {&g};
    make_prompts(all, world.records, world.processor, PromptStyle::plain, {});
    while (!g.finished() || g.rollouts.empty()) {
      RolloutWriter writer(*world.model, world.options.rollouts, 0);
      writer.add(g);
      for (std::int64_t i = 0; i < passes && writer.step(); ++i) {}
    }
    return g;
  };
  const Group whole = write(1000);
  for (const std::int64_t passes : {2, 3}) {
    const Group pieces = write(passes);
    for (std::size_t i = 0; i < whole.rollouts.size(); ++i) {
      CHECK(pieces.rollouts[i].ids == whole.rollouts[i].ids);
      CHECK(pieces.rollouts[i].logprobs == whole.rollouts[i].logprobs);
    }
  }
}

// The GPU's kernels run simulated here; make gpu-check runs the same on a GPU.
TEST_CASE("rl, G7: one step in bf16 has the loss and the gradient of f32") {
  const Lessons lessons;
  SimDevice gpu;
  for (Device* device : {&cpu(), static_cast<Device*>(&gpu)}) {
    const auto [loss, cosine] = bf16_step_beside_f32(lessons, *device);
    CHECK(std::abs(loss) < 1e-2);
    CHECK(cosine > 0.99);
  }
}

TEST_CASE("rl, G8: rewards rise with three seeds, and not when they are shuffled") {
  const Lessons lessons;
  double least = 1, most = -1;
  for (const std::uint64_t seed : {1, 2, 3}) {
    const auto [first, last] = Letters(lessons, seed, false).run();
    const auto [other, shuffled] = Letters(lessons, seed, true).run();
    MESSAGE("seed ", seed, ": ", first, " -> ", last, ", shuffled ", other, " -> ", shuffled);
    // 4 steps of 3 x 24 draws: the standard error of a mean is at most sqrt(1/4 / 288) = 0.03.
    least = std::min(least, last - first), most = std::max(most, shuffled - other);
  }
  CHECK(least > 4 * 0.03 * std::sqrt(2.0));
  CHECK(most < 4 * 0.03 * std::sqrt(2.0));
}

TEST_CASE("rl, G9: any threads, and a run that goes on from any step, end in the same bits") {
  const Lessons lessons;
  const auto run = [&](const RlJob& job) { silently([&] { return run_rl(job); }); };
  for (const std::int64_t staleness : {0, 2}) {
    const auto job = [&](const char* name) {
      RlJob j = lessons.job(cat(name, staleness));
      j.policy.staleness = staleness;
      return j;
    };
    run(job("whole"));
    const auto expected = step_checksums(job("whole").out);
    REQUIRE(expected.size() == 4);
    {
      const Threads three(3);
      run(job("threads"));
    }
    CHECK(step_checksums(job("threads").out) == expected);
    RlJob recomputed = job("recomputed");
    recomputed.recompute = true;
    run(recomputed);
    CHECK(step_checksums(recomputed.out) == expected);
    const RlJob first = job("part");
    for (std::int64_t stop = staleness ? 2 : 1; stop < (staleness ? 3 : 4); ++stop) {
      std::filesystem::remove_all(first.out);
      run(first);
      std::filesystem::remove_all(first.out + "/model");
      for (const std::string& c : checkpoints(first.out))
        if (std::stoll(c.substr(c.find_last_not_of("0123456789") + 1)) > stop) std::filesystem::remove_all(c);
      run(first);
      CHECK(step_checksums(first.out) == expected);
    }
  }
}

TEST_CASE("rl: killed twelve times at any of its steps on the disk, a run goes on to the same bits") {
  const Lessons lessons;
  RlJob whole = lessons.job("whole", 2);
  whole.policy.staleness = 1;
  static int steps;
  steps = 0;
  set_file_step_hook([](const char*, const std::string&, bool) { ++steps; });
  silently([&] { return run_rl(whole); });
  set_file_step_hook(nullptr);
  const auto expected = step_checksums(whole.out);
  for (int i = 0; i < 12; ++i) {
    RlJob job = whole;
    job.out = lessons.path(cat("killed", i));
    CHECK(in_child([&] {
            die_at_step(i * steps / 12);
            silently([&] { return run_rl(job); });
          }) == 128 + SIGKILL);
    silently([&] { return run_rl(job); });
    CHECK(step_checksums(job.out) == expected);
  }
}

}  // namespace ov::test
