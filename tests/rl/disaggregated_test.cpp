// Mode disaggregated: ranks that generate and ranks that train, replayed from the log to the same bits; killed and
// hung.
#include <doctest/doctest.h>

#include "rl/replay.h"
#include "tests/rl/apart_runs.h"

namespace ov::test {
namespace {

// Answers that hold tokens of several versions: the same rollout in the events of two steps.
std::int64_t interrupted(const std::string& out) {
  std::map<std::pair<std::int64_t, std::size_t>, int> versions;
  for (const Json& e : events_of(out))
    for (const Json& drawn : e.at("drawn").items())
      for (std::size_t i = 0; i < drawn[1].size(); ++i) versions[{drawn[0].as_int(), i}] += drawn[1][i].as_int() > 0;
  return std::count_if(versions.begin(), versions.end(), [](const auto& v) { return v.second > 1; });
}

// `kills` times, at random, a rank of a run is killed. Of two generators the other goes on; else the same command does.
// Either way the whole is what its log says.
void kill_ranks(int kills, std::uint64_t seed) {
  const Lessons lessons;
  RlJob first = apart(lessons, "first");
  const auto start = std::chrono::steady_clock::now();
  for (const Ended& e : run_ranks(3, first)) REQUIRE_MESSAGE(e.exit == 0, e.error);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  const Philox random(seed, "kills", 0);
  int killed = 0, borne = 0;
  for (int k = 0; k < kills; ++k) {
    const auto draw = [&](int what, std::uint64_t n) {
      return random.u64(static_cast<std::uint64_t>(4 * k + what)) % n;
    };
    RlJob job = apart(lessons, "killed");
    std::filesystem::remove_all(job.out);
    job.generators = 1 + static_cast<int>(draw(0, 2));
    const auto victim = static_cast<std::size_t>(draw(1, 3));
    const auto ended = run_ranks(3, job, 60, [&](const std::vector<pid_t>& children) {
      std::this_thread::sleep_for(std::chrono::microseconds(draw(2, static_cast<std::uint64_t>(took.count() * 2 / 3))));
      ::kill(children[victim], SIGKILL);
    });
    INFO("kill ", k, ": rank ", victim, " of 3, ", job.generators, " of them generators");
    for (std::size_t r = 0; r < 3; ++r) {
      const Ended& e = ended[r];
      CHECK_MESSAGE((e.exit == 0 || e.exit == (r == victim ? -SIGKILL : 3)), e.exit, ": ", e.error);
      if (r != victim && !e.error.empty()) CHECK_MESSAGE(contains(e.error, cat("rank ", victim)), e.error);
    }
    killed += ended[victim].exit == -SIGKILL;
    // Another generator is left: only before all have met is it the end of the run.
    const bool met = !checkpoints(job.out).empty(), goes_on = job.generators == 2 && victim > 0;
    const bool went_on = ended[victim].exit == -SIGKILL && ended[0].exit == 0;
    borne += went_on;
    if (met && ended[victim].exit == -SIGKILL) CHECK(went_on == goes_on);
    if (!went_on)
      for (const Ended& e : run_ranks(3, job)) CHECK_MESSAGE(e.exit == 0, e.error);
    check_whole(job);
    const std::string again = lessons.path("again");
    std::filesystem::remove_all(again);
    replay(job, again);
    CHECK(step_checksums(again) == step_checksums(job.out));
  }
  MESSAGE(killed, " of ", kills, " ranks were killed before their run ended, ", borne, " runs went on without one");
  CHECK(killed > 0);  // the others had ended before
}

}  // namespace

TEST_CASE("rl: disaggregated, a run and its replay from the log have the same bits, in one process or in ranks") {
  const Lessons lessons;
  std::int64_t mixed = 0;
  struct Shape {
    int ranks, generators, staleness;
  };
  // The last shape again until an answer was interrupted, which time decides.
  std::vector<Shape> shapes = {{2, 1, 0}, {4, 2, 1}, {3, 2, 2}};
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const Shape shape = shapes[i];
    const int ranks = shape.ranks, generators = shape.generators, staleness = shape.staleness;
    INFO(ranks, " ranks, staleness ", staleness);
    for (const char* of : {"run", "replay"}) std::filesystem::remove_all(lessons.path(cat(of, ranks)));
    for (const char* of : {"replay in ranks", "other"}) std::filesystem::remove_all(lessons.path(of));
    RlJob job = apart(lessons, cat("run", ranks));
    job.generators = generators, job.policy.staleness = staleness;
    for (const Ended& e : run_ranks(ranks, job)) REQUIRE_MESSAGE(e.exit == 0, e.error);
    check_whole(job);
    const auto expected = step_checksums(job.out);
    REQUIRE(expected.size() == 4);
    mixed += interrupted(job.out);
    replay(job, lessons.path(cat("replay", ranks)));
    CHECK(step_checksums(lessons.path(cat("replay", ranks))) == expected);
    CHECK(events_of(lessons.path(cat("replay", ranks))).back().dump() == events_of(job.out).back().dump());
    if (ranks == 3) {
      replay(job, lessons.path("replay in ranks"), 2);
      CHECK(step_checksums(lessons.path("replay in ranks")) == expected);
      // The log of another run is found out.
      RlJob other = job;
      other.events = job.out + "/run.jsonl", other.out = lessons.path("other"), other.policy.order.seed = 1;
      CHECK(contains(thrown([&] { silently([&] { return run_rl(other); }); }, Exit::machine_failed),
                     "is the log of another run"));
      // A replay that goes on does so with its own log.
      RlJob again = job;
      again.out = lessons.path("replay in ranks"), again.events = lessons.path("shorter.jsonl");
      const std::string whole = read_file(job.out + "/run.jsonl");
      write_durably(again.events, whole.substr(0, whole.rfind("{\"type\":\"step\"")));
      CHECK(contains(thrown([&] { silently([&] { return run_rl(again); }); }, Exit::wrong_input), "events"));
    }
    if (staleness == 0) {  // nothing is ahead: what time decides changes nothing, and mode sync has the same bits
      RlJob sync = job;
      sync.mode = Mode::sync, sync.out = lessons.path("sync");
      silently([&] { return run_rl(sync); });
      CHECK(step_checksums(sync.out) == expected);
      CHECK(prompt_tokens(sync.out) == prompt_tokens(job.out));
    }
    if (i + 1 == shapes.size() && mixed == 0 && i < 12) shapes.push_back(shape);
  }
  MESSAGE(mixed, " answers were interrupted by an update");
  CHECK(mixed > 0);
}

TEST_CASE("rl: colocated-dp, ranks that write a share of the rollouts each have the bits of one that writes all") {
  const Lessons lessons;
  RlJob sync = lessons.job("sync");
  silently([&] { return run_rl(sync); });
  for (const int n : {2, 3}) {
    RlJob job = lessons.job(cat("ranks", n));
    job.mode = Mode::colocated;
    for (const Ended& e : run_ranks(n, job)) CHECK_MESSAGE(e.exit == 0, e.error);
    CHECK(step_checksums(job.out) == step_checksums(sync.out));
  }
}

TEST_CASE(
    "rl: disaggregated, a rank killed at any time is done without or ends the run with its name; the same command goes "
    "on") {
  kill_ranks(12, 1);
}
TEST_CASE("rl: disaggregated, 200 such kills" * doctest::skip()) { kill_ranks(200, 2); }

TEST_CASE("rl: disaggregated, a generator that is lost leaves its groups to the other, and the log replays the run") {
  const Lessons lessons;
  for (const std::size_t victim : {1, 2}) {
    INFO("rank ", victim);
    RlJob job = apart(lessons, cat("lost", victim), 6);
    job.generators = 2;
    const auto ended = run_ranks(3, job, 60, kill_after(job.out, 1, victim));
    CHECK(ended[victim].exit == -SIGKILL);
    for (std::size_t r = 0; r < 3; ++r)
      if (r != victim) CHECK_MESSAGE(ended[r].exit == 0, ended[r].error);
    check_whole(job);
    std::vector<std::int64_t> lost;
    for (const Json& e : events_of(job.out))
      if (const Json* l = e.find("lost"))
        for (const Json& r : l->items()) lost.push_back(r.as_int());
    CHECK(lost == std::vector<std::int64_t>{static_cast<std::int64_t>(victim)});
    replay(job, lessons.path(cat("again", victim)));
    CHECK(step_checksums(lessons.path(cat("again", victim))) == step_checksums(job.out));
  }
}

TEST_CASE("rl: disaggregated, the last generator's end and a trainer's end the run with who it was and what goes on") {
  const Lessons lessons;
  for (const std::size_t victim : {0, 2}) {
    INFO("rank ", victim);
    RlJob job = apart(lessons, cat("ends", victim));  // ranks 0 and 1 train, rank 2 generates
    const auto ended = run_ranks(3, job, 60, kill_after(job.out, 1, victim));
    std::string said;
    for (std::size_t r = 0; r < 3; ++r) {
      CHECK(ended[r].exit == (r == victim ? -SIGKILL : 3));
      if (ended[r].error.empty()) continue;
      CHECK_MESSAGE(said.empty(), said);
      said = ended[r].error;
    }
    CHECK_MESSAGE(contains(said, victim == 2 ? "rank 2, a generator, is lost before update "
                                             : cat("rank ", victim, " ended without a word in step ")),
                  said);
    CHECK_MESSAGE(contains(said, victim == 2 ? "no other is left" : "it trained"), said);
    CHECK_MESSAGE(contains(said, "he same command goes on from the last checkpoint"), said);
    for (const Ended& e : run_ranks(3, job)) CHECK_MESSAGE(e.exit == 0, e.error);
    check_whole(job);
  }
}

TEST_CASE("rl: disaggregated, a reward that hangs ends the run with the group that it hangs in, and nothing is lost") {
  const Lessons lessons;
  RlJob job = apart(lessons, "hangs");
  RlJob hangs = job;
  hangs.policy.rollouts.reward = [](const std::string&, const Group& g) -> Reward {
    static bool slept = false;  // no test hangs for ever
    if (g.number == 7 && !slept) std::this_thread::sleep_for(std::chrono::seconds(12)), slept = true;
    return {.reward = 1, .accuracy = 1};
  };
  const auto ended = run_ranks(2, hangs, 5);
  CHECK(ended[0].exit == 3);
  CHECK_MESSAGE(contains(ended[0].error, "rank 1, a generator, has said nothing for 5 s"), ended[0].error);
  CHECK_MESSAGE(contains(ended[0].error, "it last began to score group 7"), ended[0].error);
  for (const Ended& e : run_ranks(2, job)) CHECK_MESSAGE(e.exit == 0, e.error);
  check_whole(job);
}

TEST_CASE("rl: disaggregated, ranks that do not suffice, other data and a log with gaps are refused") {
  const Lessons lessons;
  const RlJob job = apart(lessons, "refused");
  CHECK(contains(thrown([&] { run_rl(job); }), "rl.mode disaggregated: generators and trainers are ranks"));
  RlJob many = job;
  many.generators = 2;
  for (const Ended& e : run_ranks(2, many)) CHECK(e.exit == 2);
  RlJob gaps = job;
  gaps.log_every = 2;
  const auto skips = run_ranks(2, gaps);
  CHECK(contains(skips[0].error + skips[1].error, "log.every 2"));
  write_durably(lessons.path("others.jsonl"), R"({"problem": "a?", "answer": "1"})"
                                              "\n");
  const auto ended = in_ranks(2, 60, [&](ProcessRanks& ranks) {
    RlJob own = job;
    own.ranks = &ranks;
    if (ranks.rank() == 1) own.records = lessons.path("others.jsonl");
    silently([&] { return run_rl(own); });
  });
  CHECK(contains(ended[1].error, "rank 1, a generator, was given another run than rank 0"));
}

}  // namespace ov::test
