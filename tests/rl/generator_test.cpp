// Ranks that generate: what they are given, and what they pass on.
#include "tests/rl/apart_runs.h"

namespace ov::test {

TEST_CASE("rl: disaggregated, a generator that is asked to stop has the run stop, and what is done is saved") {
  const Lessons lessons;
  const RlJob job = apart(lessons, "asked", 400);
  const auto ended = run_ranks(3, job, 60, kill_after(job.out, 1, 2, SIGTERM));
  std::string said;  // by whoever hears of it first
  for (const Ended& e : ended) CHECK(e.exit == 143), said += e.error;
  CHECK_MESSAGE(contains(said, "stopped by SIGTERM after step"), said);
  CHECK_FALSE(checkpoints(job.out).empty());
}

TEST_CASE(
    "rl: disaggregated, every generator gets groups to write, and a trainer that waits for them does not give up") {
  const Lessons lessons;
  RlJob job = apart(lessons, "slow", 1);
  job.generators = 2, job.policy.staleness = 0, job.policy.order.prompts = 8;
  job.policy.rollouts.reward = [&](const std::string&, const Group& g) -> Reward {
    write_durably(lessons.path(cat("group", g.number)), cat(::getpid()));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return {.reward = static_cast<double>(g.number)};
  };
  // Four groups a generator, each of 4 answers: 4.8 s, and nobody is silent for 4.
  for (const Ended& e : run_ranks(4, job, 4)) CHECK_MESSAGE(e.exit == 0, e.error);
  std::map<std::string, int> written;
  for (int g = 0; g < 8; ++g) ++written[read_file(lessons.path(cat("group", g)))];
  CHECK(written.size() == 2);
  for (const auto& [pid, n] : written) CHECK(n == 4);
}

TEST_CASE("rl: disaggregated, a generator that is lost while a step waits for its groups: another goes on with them") {
  const Lessons lessons;
  RlJob job = apart(lessons, "awaited", 2);
  job.generators = 2, job.policy.staleness = 0;
  const std::string killed = lessons.path("killed");
  job.policy.rollouts.reward = [&](const std::string& text, const Group& g) -> Reward {
    if (g.number == 1 && !path_exists(killed)) {
      write_durably(killed, "");
      ::raise(SIGKILL);
    }
    return {.reward = text.size() % 2 ? 1.0 : 0.0};
  };
  const auto ends = [&](const std::vector<pid_t>& children) {  // or is ended: nobody waits for ever
    const std::string done = job.out + "/model/DONE";
    for (int i = 0; i < 1200 && !path_exists(done); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (!path_exists(done))
      for (const pid_t child : children) ::kill(child, SIGKILL);
  };
  int lost = 0;
  for (const Ended& e : run_ranks(3, job, 30, ends))
    lost += e.exit == -SIGKILL, CHECK((e.exit == 0 || e.exit == -SIGKILL));
  CHECK(lost == 1);
  check_whole(job);
  CHECK(events_of(job.out)[0].at("lost").size() == 1);
}

}  // namespace ov::test
