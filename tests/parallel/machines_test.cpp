// Whole runs over several machines: the bits of one rank, whatever lies between the ranks.
#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/comm/forked_machines.h"
#include "tests/parallel/mesh_world.h"
#include "tests/parallel/text_run.h"

using namespace ov;
using namespace ov::test;

namespace {

void over_machines(const std::vector<int>& machines, const Ways& ways, TrainJob job) {
  ways.set(job.train);
  for (const Ended& e : in_machines(machines, 60, [&](ProcessRanks& ranks) {
         job.ranks = &ranks;
         quietly(job);
         ranks.barrier();
       }))
    REQUIRE_MESSAGE(e.exit == 0, ways.said(), ": ", e.error);
}

void write_corpus(const std::string& path) {
  std::ofstream corpus(path);
  for (int i = 0; i < 20; ++i)
    corpus << R"({"text": "A corpus of line )" << i << R"(, and of nothing else."})"
           << "\n";
}

Strings of_four(const std::string& corpus, const std::string& out, int steps) {
  return text_run(corpus, out, 4, steps, {"--train.micro_batch_samples", "1"});
}

Outcome launched(int ranks, Strings where, const Strings& what, void (*before)() = nullptr) {
  where.insert(where.begin(), {"launch", "-n", std::to_string(ranks)});
  where.push_back("--");
  where.insert(where.end(), what.begin(), what.end());
  return run(where, before);
}

Strings node(const FreePort& port, const std::string& which) {
  return {"--nodes", "2", "--address", port.address(), "--node", which};
}

// Processes of this machine whose command line holds `word`.
int processes_of(const std::string& word) {
  int n = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) n += contains(of_process(entry.path() / "cmdline"), word);
  return n;
}

// Until `kills` hit: a run of two machines, of which a rank or a launcher is killed at some time, while they meet too;
// all of both ends soon, and another number of ranks goes on to the bits of a run that nobody killed.
void kill_and_resume(int kills, std::uint64_t seed) {
  const ScratchDirectory dir;
  write_corpus(dir / "corpus.jsonl");
  const auto work = [&](const std::string& out) {
    Strings all = of_four(dir / "corpus.jsonl", dir / out, 8);
    all.insert(all.end(), {"--train.save_every", "1"});
    return all;
  };
  const double start = monotonic_seconds();
  const Outcome alone = run(work("one"));
  REQUIRE_MESSAGE(alone.exit == 0, alone.err);
  // How long a run takes, at most: halved whenever one was over before its kill.
  auto took = static_cast<std::uint64_t>(1e6 * (monotonic_seconds() - start));
  TrainJob one, job;
  one.out = dir / "one", job.out = dir / "killed";
  const std::string sha = model_sha(one), log = steps_of(one);

  const Philox random(seed, "kills", 0);
  int killed = 0;
  for (int tried = 0; killed < kills && tried < 4 * kills; ++tried) {
    const int k = killed;
    const auto draw = [&](int what, std::uint64_t n) {
      return static_cast<int>(random.u64(static_cast<std::uint64_t>(8 * k + what)) % n);
    };
    fs::remove_all(job.out);
    const int n = 1 + draw(0, 2), victim = draw(1, static_cast<std::uint64_t>(2 * n + 2)), m = 1 + draw(2, 4);
    const bool launcher = victim >= 2 * n;
    INFO("kill ", k, ": ", std::string(launcher ? "launcher " : "rank "), launcher ? victim - 2 * n : victim,
         " of 2 x ", n, ", then ", m);
    Strings what = work("killed");
    what.insert(what.end(), {"--comm.timeout", "10", "--parallel.zero", std::to_string(draw(3, 4))});
    const FreePort port;
    Outcome ends[2];
    std::vector<std::thread> machines;
    std::atomic<int> over = 0;
    for (const int i : {0, 1})
      machines.emplace_back([&, i] { ends[i] = launched(n, node(port, std::to_string(i)), what), ++over; });
    std::this_thread::sleep_for(std::chrono::microseconds(draw(4, took + took / 2)));
    const std::string mark = port.address() + std::string(1, '\0') + "--node" + std::string(1, '\0');
    const auto hits = [&] {  // not before it is there
      return launcher ? kill_rank(mark + std::to_string(victim - 2 * n), -1) : kill_rank(job.out, victim);
    };
    while (!hits() && over < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const double since = monotonic_seconds();
    for (std::thread& t : machines) t.join();
    CHECK(monotonic_seconds() - since <
          40);  // comm.timeout, where it was killed before all had met, and a slow machine
    bool hit = false;
    for (const int i : {0, 1}) {
      const bool here = launcher ? victim - 2 * n == i : victim / n == i;
      const int exit = ends[i].exit;
      CHECK_MESSAGE((exit == 0 || exit == 3 || (here && exit == (launcher ? -1 : 128 + SIGKILL))), exit, ends[i].err);
      hit = hit || exit != 0;
    }
    if (hit) ++killed;
    else took /= 2;
    for (const double until = monotonic_seconds() + 10; processes_of(job.out) > 0 && monotonic_seconds() < until;)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(processes_of(job.out) == 0);
    CHECK(port.nobody_listens());

    what.resize(what.size() - 4);
    const Outcome on = m == 1 ? run(what) : launched(m, {}, what);
    CHECK_MESSAGE(on.exit == 0, on.err);
    CHECK(model_sha(job) == sha);
    CHECK(steps_of(job) == log);
  }
  CHECK(killed == kills);
}

}  // namespace

TEST_CASE(
    "launch: two machines of which a rank or a launcher is killed at any time; other ranks go on to the same bits") {
  kill_and_resume(3, 1);
}

TEST_CASE("launch: 200 such kills over machines" * doctest::skip()) { kill_and_resume(200, 2); }

TEST_CASE("machines: 20 steps on two and three machines are one rank's bits; a checkpoint goes from one to the other") {
  const MeshWorld world;
  const auto job_to = [&](const std::string& out) {
    TrainJob job = world.job(out);
    job.save_every = 10, job.keep = 9;
    return job;
  };
  const TrainJob one = job_to("one");
  quietly(one);
  const auto same = [&](const TrainJob& job, const Ways& ways) {
    CHECK_MESSAGE(model_sha(job) == model_sha(one), ways.said());
    CHECK_MESSAGE(steps_of(job) == steps_of(one), ways.said());
  };
  const std::pair<std::vector<int>, Ways> meshes[] = {
      {{1, 1}, {.data = 2}},
      {{1, 1}, {.data = 2, .zero = 2}},
      {{2, 1, 1}, {.data = 2, .pipeline = 2}},  // a stage's copies on machines apart
  };
  for (const auto& mesh : meshes) {
    TrainJob job = job_to(cat("mesh", &mesh - meshes));
    over_machines(mesh.first, mesh.second, job);
    same(job, mesh.second);
  }

  // Saved by four ranks of two machines; then one rank goes on from step 10.
  TrainJob job = job_to("resumed");
  const Ways ways{.data = 2, .pipeline = 2};
  over_machines({2, 2}, ways, job);
  for (const char* what : {"/checkpoints/step-00000010", "/checkpoints/step-00000020"})
    CHECK(saved_bits(job.out + what) == saved_bits(one.out + what));
  cut(job);
  quietly(job);
  same(job, ways);
}

TEST_CASE("machines: sums beside the backward pass are no bridge's matter, and refused by name") {
  const MeshWorld world;
  std::string said;
  for (const Ended& e : in_machines({1, 1}, 20, [&](ProcessRanks& ranks) {
         TrainJob job = world.job("refused");
         Ways{.data = 2, .overlap = true}.set(job.train);
         job.ranks = &ranks;
         quietly(job);
       })) {
    CHECK(e.exit == 2);
    said += e.error;
  }
  CHECK(contains(said, "comm.overlap true with CPU ranks on several machines: not built; auto takes it where it is"));
}

TEST_CASE("launch: each machine's share of a job; where it has no place, or nobody comes, one line says so") {
  const ScratchDirectory dir;
  write_corpus(dir / "corpus.jsonl");
  const auto work = [&](const std::string& out) { return of_four(dir / "corpus.jsonl", dir / out, 2); };
  const FreePort port;
  Outcome second;
  const auto in_torchrun = [] {  // started there, it leads ranks of its own all the same
    ::setenv("TORCHELASTIC_RUN_ID", "x", 1), ::setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1);
  };
  Strings two = work("two");
  two.insert(two.end(), {"--comm.timeout", "60"});
  std::thread other([&] { second = launched(2, node(port, "1"), two, in_torchrun); });
  const Outcome first = launched(2, node(port, "0"), two);
  other.join();
  CHECK_MESSAGE(first.exit == 0, first.err);
  CHECK_MESSAGE(second.exit == 0, second.err);
  CHECK(contains(first.err, "4 ranks (RANK, WORLD_SIZE), 2 of them on this machine"));
  CHECK(contains(first.err, "mesh: dp 4"));
  CHECK(run(work("one")).exit == 0);
  CHECK(sha256_file(dir / "one/model/model.safetensors") == sha256_file(dir / "two/model/model.safetensors"));

  // An error of one machine is shown by each; what is wrong with the job by the one that is given it.
  const auto last = [](const Outcome& o) {
    return o.err.substr(o.err.rfind("onevision: ") == o.err.npos ? 0 : o.err.rfind("onevision: "));
  };
  Strings wrong = work("wrong");
  wrong.insert(wrong.end(), {"--train.micro_batch_samples", "2"});
  std::thread differs([&] { second = launched(1, node(port, "1"), wrong); });
  const Outcome told = launched(1, node(port, "0"), work("wrong"));
  differs.join();
  CHECK(told.exit == 2);
  CHECK(second.exit == 2);
  CHECK_MESSAGE(contains(last(told), "rank 1 was given another run than rank 0: "), told.err);
  CHECK(last(told) == last(second));

  Strings alone = work("alone");
  alone.insert(alone.end(), {"--comm.timeout", "1"});
  const Outcome missed = launched(2, node(port, "0"), alone);
  CHECK(missed.exit == 3);
  CHECK_MESSAGE(
      contains(last(missed), cat("rank 0: rank 2, 3 of 4 (RANK, WORLD_SIZE) did not come to ", port.address())),
      missed.err);
  CHECK(contains(launched(2, {"--nodes", "2", "--node", "2", "--address", "a:1"}, alone).err,
                 "launch.node: 2 of launch.nodes 2"));
  CHECK(contains(launched(2, {"--nodes", "2"}, alone).err, "launch.address: expected HOST:PORT"));
  CHECK(contains(launched(2, {"--nodes", "2", "--address", "a"}, alone).err, "launch.address: expected HOST:PORT or"));
  CHECK(port.nobody_listens());
}
