// Whole runs in several ranks: killed, stopped and resumed with other numbers of them, and given different things.
#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/config.h"
#include "base/rng.h"
#include "tests/cli/program.h"
#include "tests/comm/forked_ranks.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

using std::chrono::milliseconds;

std::vector<Ended> ranks_of(int n, TrainJob job, int zero,
                            const std::function<void(const std::vector<pid_t>&)>& started = {}) {
  job.train.zero = zero;
  return in_ranks(
      n, 60,
      [job](ProcessRanks& ranks) mutable {
        job.ranks = &ranks;
        quietly(job);
        ranks.barrier();
      },
      started);
}

// What a log says of its steps, but for times.
std::string steps_of(const TrainJob& job) {
  std::string said;
  for (Json line : lines_of(job.out + "/run.jsonl"))
    if (line.at("type").as_string() == "step") {
      for (const char* time : {"seconds", "data_seconds", "tokens_per_second", "samples_per_second", "mfu"})
        line.set(time, 0);
      said += line.dump() + "\n";
    }
  return said;
}

// `kills` times: a rank is killed somewhere; another number of ranks goes on, to the same end.
void kill_and_resume(int kills, std::uint64_t seed) {
  const World world;
  TrainJob whole = world.job("whole");
  whole.data.micro_batches_per_step = 4;
  whole.data.samples_per_micro_batch = 1;
  whole.save_every = 1;
  const auto start = std::chrono::steady_clock::now();
  for (const Ended& e : ranks_of(2, whole, 1)) REQUIRE_MESSAGE(e.exit == 0, e.error);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  TrainJob one = whole;
  one.out = world.path("one");
  quietly(one);
  CHECK(model_sha(one) == model_sha(whole));
  CHECK(steps_of(one) == steps_of(whole));

  const Philox random(seed, "kills", 0);
  int killed = 0;
  for (int k = 0; k < kills; ++k) {
    const auto draw = [&](int what, std::uint64_t n) {
      return random.u64(static_cast<std::uint64_t>(8 * k + what)) % n;
    };
    TrainJob job = whole;
    job.out = world.path("killed");
    fs::remove_all(job.out);
    const int n = 2 + static_cast<int>(draw(0, 3)), victim = static_cast<int>(draw(1, static_cast<std::uint64_t>(n))),
              m = 1 + static_cast<int>(draw(2, 4));
    const auto ended = ranks_of(n, job, static_cast<int>(draw(3, 2)), [&](const std::vector<pid_t>& children) {
      while (!fs::exists(job.out)) std::this_thread::sleep_for(milliseconds(1));  // made when all have met
      std::this_thread::sleep_for(std::chrono::microseconds(draw(4, static_cast<std::uint64_t>(took.count()))));
      ::kill(children[static_cast<std::size_t>(victim)], SIGKILL);
    });
    INFO("kill ", k, ": rank ", victim, " of ", n, ", then ", m);
    for (int r = 0; r < n; ++r) {
      const Ended& e = ended[static_cast<std::size_t>(r)];
      CHECK_MESSAGE((e.exit == 0 || e.exit == (r == victim ? -SIGKILL : 3)), e.error);
      killed += e.exit == -SIGKILL;
    }
    for (const Ended& e : ranks_of(m, job, static_cast<int>(draw(5, 2)))) CHECK_MESSAGE(e.exit == 0, e.error);
    CHECK(model_sha(job) == model_sha(one));
    CHECK(steps_of(job) == steps_of(one));
  }
  CHECK(killed > kills / 2);
}

}  // namespace

TEST_CASE("runs: a rank killed at any time; another number of ranks goes on to the same bits (R-34)") {
  kill_and_resume(12, 1);
}

TEST_CASE("runs: 200 such kills" * doctest::skip()) { kill_and_resume(200, 2); }

TEST_CASE(
    "runs: ranks that were given another configuration, other data or another model say so before the first step") {
  const World world;
  synth::write_lessons({.out_dir = world.path("other"), .seed = 5, .count = 10, .data_dir = "data/toy_world"});
  export_model(world.path("start2"), *random_model(byte_config(), 2), loader_test::small_processor());
  const auto refused = [&](const std::function<void(TrainJob&)>& change) {
    const auto ended = in_ranks(3, 60, [&](ProcessRanks& ranks) {
      TrainJob job = world.job("differs");
      job.data.micro_batches_per_step = 4;
      job.ranks = &ranks;
      if (ranks.rank() == 2) change(job);
      quietly(job);
    });
    for (const Ended& e : ended) CHECK(e.exit == 2);
    CHECK(ended[0].error + ended[1].error == "");
    CHECK(!fs::exists(world.path("differs/run.jsonl")));
    return ended[2].error;
  };
  const std::string start = "rank 2 was given another run than rank 0: ";
  CHECK(refused([](TrainJob& j) {
          j.config = Json::object({{"optimizer.lr", 2}, {"train.steps", steps}});
        }) == start + "config: optimizer.lr is 2, on rank 0 null");
  CHECK(contains(refused([&](TrainJob& j) { j.data.json = world.path("other/conversations.json"); }),
                 start + "data: state."));
  CHECK(contains(refused([&](TrainJob& j) { j.model_dir = world.path("start2"); }),
                 start + "sources: starting_weights is "));
}

TEST_CASE("runs: SIGTERM to one rank ends all after the same step, saved") {
  const World world;
  TrainJob job = world.job("stopped");
  job.data.micro_batches_per_step = 4;
  job.train.steps = 2000;
  const auto ended = ranks_of(3, job, 1, [&](const std::vector<pid_t>& children) {
    while (!fs::exists(job.out + "/checkpoints/step-00000002/DONE")) std::this_thread::sleep_for(milliseconds(5));
    ::kill(children[1], SIGTERM);
  });
  int said = 0;
  for (const Ended& e : ended) {
    CHECK(e.exit == 143);
    said += contains(e.error, "stopped by SIGTERM after step");
  }
  CHECK(said == 1);
  const Json last = lines_of(job.out + "/run.jsonl").back();
  CHECK(last.at("type").as_string() == "stop");
  CHECK(contains(*newest_checkpoint(job.out), cat(last.at("step").as_int())));
}

TEST_CASE("launch: every kind of run is one rank's; one error, of the first that failed; a killed rank; nobody stays") {
  const ScratchDirectory dir;
  const auto launch = [&](const std::string& n, const Strings& what) {
    Strings arguments = {"launch", "-n", n, "--"};
    arguments.insert(arguments.end(), what.begin(), what.end());
    return run(n == "1" ? what : arguments);
  };
  const auto at = [&](const char* name) { return dir / name; };
  CHECK(run({"synth", "--what", "world", "--synth.instruct", "3", "--synth.captions", "8", "--synth.regions", "8",
             "--synth.text", "30", "--synth.test", "1", "--out", at("world")})
            .exit == 0);
  CHECK(run({"merge", "--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--out", at("model")})
            .exit == 0);
  const Strings shared = {"--steps", "2", "--train.micro_batches", "2", "--train.micro_batch_samples", "2"};
  const std::pair<Strings, std::string> kinds[] = {
      {{"pretrain", "--what", "vision", "--config", "configs/model/tiny.json", "--regions",
        at("world") + "/regions/regions.jsonl"},
       "tower"},
      {{"pretrain", "--what", "text", "--model", at("model"), "--text", at("world") + "/text/corpus.jsonl"}, "model"},
      {{"pretrain", "--what", "clip", "--config", "configs/model/clip-demo.json", "--tokenizer", "data/tokenizer",
        "--captions", at("world") + "/captions"},
       "model"},
  };
  for (const auto& [kind, result] : kinds) {
    Strings lines;
    for (const std::string n : {"1", "2"}) {
      Strings arguments = kind;
      arguments.insert(arguments.end(), shared.begin(), shared.end());
      const std::string out = dir / (kind[2] + n);
      arguments.insert(arguments.end(), {"--out", out});
      const Outcome o = launch(n, arguments);
      CHECK_MESSAGE(o.exit == 0, o.err);
      CHECK(contains(o.err, "mesh: dp 2") == (n == "2"));
      TrainJob job;
      job.out = out;
      lines.push_back(steps_of(job) + sha256_file(out + "/" + result + "/model.safetensors"));
    }
    CHECK(lines[0] == lines[1]);
  }

  const Strings text = {
      "pretrain", "--what", "text", "--model", at("model"), "--text", at("world") + "/text/corpus.jsonl",
      "--out",    at("run")};
  const auto error = [&](Strings arguments, int exit, const std::string& expected) {
    const Outcome o = launch("3", arguments);
    CHECK(o.exit == exit);
    const auto last = o.err.rfind("onevision: ");
    CHECK_MESSAGE((last != o.err.npos && contains(o.err.substr(last), expected) && o.err.find(expected) > last), o.err);
    CHECK(one_line(o.err.substr(last)));
  };
  Strings bad = text;
  bad.push_back("--tpyo"), error(bad, 2, "unknown key '--tpyo'");
  bad.back() = "--text", bad.push_back(at("nothing")), error(bad, 2, "nothing: cannot open");
  error({"eval"}, 2, "'eval' does not run in ranks");
  error({"launch", "--", "train"}, 2, "launches no launch");

  Strings long_run = text;
  long_run.insert(long_run.end(), {"--steps", "5000", "--train.micro_batches", "3", "--train.save_every", "1"});
  std::thread killer([&] {
    while (!fs::exists(at("run") + "/checkpoints/step-00000002/DONE")) std::this_thread::sleep_for(milliseconds(5));
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string id = entry.path().filename();
      if (id.find_first_not_of("0123456789") != id.npos) continue;
      std::ifstream command(entry.path() / "cmdline"), variables(entry.path() / "environ");
      const std::string said{std::istreambuf_iterator<char>(command), {}},
          set{std::istreambuf_iterator<char>(variables), {}};
      if (contains(said, at("run")) && contains(set, std::string("\0RANK=2\0", 8))) ::kill(std::stoi(id), SIGKILL);
    }
  });
  const Outcome o = launch("3", long_run);
  killer.join();
  CHECK(o.exit == 128 + SIGKILL);
  CHECK_MESSAGE(contains(o.err, "onevision: rank 2 was killed by signal 9 (Killed)"), o.err);
  int left = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream command(entry.path() / "cmdline");
    left += contains({std::istreambuf_iterator<char>(command), {}}, at("run"));
  }
  CHECK(left == 0);
}
