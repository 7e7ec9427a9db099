// Whole runs over several machines: the bits of one rank, whatever lies between the ranks.
#include <doctest/doctest.h>

#include <fstream>

#include "tests/comm/forked_machines.h"
#include "tests/parallel/mesh_world.h"

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

}  // namespace

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

  // Saved by four ranks of two machines; then one rank goes on from step 10, as if they had ended there.
  TrainJob job = job_to("resumed");
  const Ways ways{.data = 2, .pipeline = 2};
  over_machines({2, 2}, ways, job);
  for (const char* what : {"/checkpoints/step-00000010", "/checkpoints/step-00000020"})
    for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
      CHECK(sha256_file(job.out + what + file) == sha256_file(one.out + what + file));
  fs::remove_all(job.out + "/checkpoints/step-00000020"), fs::remove_all(job.out + "/model");
  quietly(job);
  same(job, ways);
}

TEST_CASE("launch: each machine's share of a job; where it has no place, or nobody comes, one line says so") {
  const ScratchDirectory dir;
  std::ofstream corpus(dir / "corpus.jsonl");
  for (int i = 0; i < 20; ++i)
    corpus << R"({"text": "A corpus of line )" << i << R"(, and of nothing else."})"
           << "\n";
  corpus.close();
  const auto work = [&](const std::string& out) {
    return Strings{"pretrain",
                   "--what",
                   "text",
                   "--config",
                   "configs/model/mesh.json",
                   "--tokenizer",
                   "data/tokenizer",
                   "--text",
                   dir / "corpus.jsonl",
                   "--train.micro_batches",
                   "4",
                   "--train.micro_batch_samples",
                   "1",
                   "--steps",
                   "2",
                   "--out",
                   dir / out};
  };
  const auto launch = [&](const std::string& n, Strings where, const Strings& what) {
    where.insert(where.begin(), {"launch", "-n", n});
    where.push_back("--");
    where.insert(where.end(), what.begin(), what.end());
    return run(where);
  };
  const FreePort port;
  const Strings nodes = {"--nodes", "2", "--address", port.address()};
  const auto node = [&](const char* which) {
    Strings where = nodes;
    where.insert(where.end(), {"--node", which});
    return where;
  };
  Outcome second;
  std::thread other([&] { second = launch("2", node("1"), work("two")); });
  const Outcome first = launch("2", node("0"), work("two"));
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
  std::thread differs([&] { second = launch("1", node("1"), wrong); });
  const Outcome told = launch("1", node("0"), work("wrong"));
  differs.join();
  CHECK(told.exit == 2);
  CHECK(second.exit == 2);
  CHECK_MESSAGE(contains(last(told), "rank 1 was given another run than rank 0: "), told.err);
  CHECK(last(told) == last(second));

  Strings alone = work("alone");
  alone.insert(alone.end(), {"--comm.timeout", "1"});
  const Outcome missed = launch("2", node("0"), alone);
  CHECK(missed.exit == 3);
  CHECK_MESSAGE(
      contains(last(missed), cat("rank 0: rank 2, 3 of 4 (RANK, WORLD_SIZE) did not come to ", port.address())),
      missed.err);
  CHECK(contains(launch("2", {"--nodes", "2", "--node", "2", "--address", "a:1"}, alone).err,
                 "launch.node: 2 of launch.nodes 2"));
  CHECK(contains(launch("2", {"--nodes", "2"}, alone).err, "launch.address: expected HOST:PORT"));
  CHECK(contains(launch("2", {"--nodes", "2", "--address", "a"}, alone).err, "launch.address: expected HOST:PORT or"));
  CHECK(port.nobody_listens());
}
