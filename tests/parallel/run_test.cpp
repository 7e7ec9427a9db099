// Whole runs in several ranks: killed, stopped and resumed with other numbers of them, and given different things.
#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/config.h"
#include "base/rng.h"
#include "tests/cli/program.h"
#include "tests/comm/forked_ranks.h"
#include "tests/parallel/text_run.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

using std::chrono::milliseconds;

std::vector<Ended> ranks_of(int n, TrainJob job, int zero,
                            const std::function<void(const std::vector<pid_t>&)>& started = {}, int pipeline = 1) {
  job.train.zero = zero, job.train.pipeline = pipeline;
  return in_ranks(
      n, 60,
      [job](ProcessRanks& ranks) mutable {
        job.ranks = &ranks;
        quietly(job);
        ranks.barrier();
      },
      started);
}

// Until `kills` ranks were killed: one is, somewhere; another number of ranks goes on, to the same end.
void kill_and_resume(int kills, std::uint64_t seed) {
  const World world;
  TrainJob whole = world.job("whole");
  whole.data.micro_batches_per_step = 4;
  whole.data.samples_per_micro_batch = 1;
  whole.save_every = 1;
  const auto start = std::chrono::steady_clock::now();
  for (const Ended& e : ranks_of(2, whole, 1)) REQUIRE_MESSAGE(e.exit == 0, e.error);
  // How long a run takes, at most: halved whenever one was over before its kill.
  auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  TrainJob one = whole;
  one.out = world.path("one");
  quietly(one);
  CHECK(model_sha(one) == model_sha(whole));
  CHECK(steps_of(one) == steps_of(whole));

  const Philox random(seed, "kills", 0);
  int killed = 0;
  for (int tried = 0; killed < kills && tried < 4 * kills; ++tried) {
    const int k = killed;
    const auto draw = [&](int what, std::uint64_t n) {
      return random.u64(static_cast<std::uint64_t>(8 * k + what)) % n;
    };
    TrainJob job = whole;
    job.out = world.path("killed");
    fs::remove_all(job.out);
    const int n = 2 + static_cast<int>(draw(0, 3)), victim = static_cast<int>(draw(1, static_cast<std::uint64_t>(n))),
              m = 1 + static_cast<int>(draw(2, 4));
    const int pipeline = draw(6, 2) ? n : 1;
    const auto zero = [&](int what, int ranks, int stages) {  // 2 and 3 take a power of two
      return static_cast<int>(draw(what, stages == 1 && (ranks & (ranks - 1)) == 0 ? 4 : 2));
    };
    const auto ended = ranks_of(
        n, job, zero(3, n, pipeline),
        [&](const std::vector<pid_t>& children) {
          while (!fs::exists(job.out)) std::this_thread::sleep_for(milliseconds(1));  // made when all have met
          std::this_thread::sleep_for(std::chrono::microseconds(draw(4, static_cast<std::uint64_t>(took.count()))));
          ::kill(children[static_cast<std::size_t>(victim)], SIGKILL);
        },
        pipeline);
    INFO("kill ", k, ": rank ", victim, " of ", n, " (pp ", pipeline, "), then ", m);
    for (int r = 0; r < n; ++r) {
      const Ended& e = ended[static_cast<std::size_t>(r)];
      CHECK_MESSAGE((e.exit == 0 || e.exit == (r == victim ? -SIGKILL : 3)), e.error);
      killed += e.exit == -SIGKILL;
    }
    if (killed == k) took /= 2;
    for (const Ended& e : ranks_of(m, job, zero(5, m, 1))) CHECK_MESSAGE(e.exit == 0, e.error);
    CHECK(model_sha(job) == model_sha(one));
    CHECK(steps_of(job) == steps_of(one));
  }
  CHECK(killed == kills);
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
  CHECK(refused([&](TrainJob& j) {
          j.model_dir = world.path("start2");
        }).ends_with("; model and data, as this rank read them, hold other bytes than rank 0's"));
}

TEST_CASE("runs: a rank of another program says so before the first step") {
  const ScratchDirectory dir;
  fs::copy_file(program_path(), dir / "other");
  std::ofstream(dir / "other", std::ios::app) << "one byte more";
  std::ofstream(dir / "corpus.jsonl") << R"({"text": "A line."})"
                                      << "\n";
  const std::string root = fs::current_path(), what = " pretrain --what text --config " + root +
                                                      "/configs/model/mesh.json --tokenizer " + root +
                                                      "/data/tokenizer --text corpus.jsonl --steps 1 --out out 2> ";
  const int status =
      std::system(cat("cd ", dir / "", " && export WORLD_SIZE=2 MASTER_PORT=test", ::getpid(), "; RANK=0 ",
                      program_path(), what, "first & RANK=1 ./other", what, "second; status=$?; wait; exit $status")
                      .c_str());
  CHECK(WEXITSTATUS(status) == 2);
  const std::string said = read_file(dir / "second");
  CHECK_MESSAGE(contains(said, "rank 1 was given another run than rank 0: program: checksum is "), said);
  CHECK_FALSE(contains(said, "revision"));
  CHECK(!fs::exists(dir / "out/run.jsonl"));
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
  // The text again, in stages: the same run.
  Strings staged = kinds[1].first;
  staged.insert(staged.end(), shared.begin(), shared.end());
  staged.insert(staged.end(), {"--parallel.pipeline", "2", "--parallel.chunks", "3", "--out", at("staged")});
  const Outcome in_stages = launch("2", staged);
  CHECK_MESSAGE(in_stages.exit == 0, in_stages.err);
  CHECK_MESSAGE(contains(in_stages.err, "mesh: dp 1 x pp 2\n"), in_stages.err);
  CHECK(contains(in_stages.err, "tower, words, layer 0, layers "));
  CHECK(contains(in_stages.err, ", layer 7, head"));
  CHECK(contains(in_stages.err, "waits 14 % of a step"));  // 2 micro-batches through 3 chunks of 2 ranks: 14 slots
  CHECK(sha256_file(at("staged") + "/model/model.safetensors") ==
        sha256_file(dir / (kinds[1].first[2] + "1") + "/model/model.safetensors"));

  Strings bad = text;
  bad.push_back("--tpyo"), error(bad, 2, "unknown key '--tpyo'");
  bad.back() = "--text", bad.push_back(at("nothing")), error(bad, 2, "nothing: cannot open");
  error({"eval"}, 2, "'eval' does not run in ranks");
  error({"launch", "--", "train"}, 2, "launches no launch");

  Strings long_run = text;
  long_run.insert(long_run.end(), {"--steps", "5000", "--train.micro_batches", "3", "--train.save_every", "1"});
  std::thread killer([&] {
    while (!fs::exists(at("run") + "/checkpoints/step-00000002/DONE")) std::this_thread::sleep_for(milliseconds(5));
    kill_rank(at("run"), 2);
  });
  const Outcome o = launch("3", long_run);
  killer.join();
  CHECK(o.exit == 128 + SIGKILL);
  CHECK_MESSAGE(contains(o.err, "onevision: rank 2 was killed by signal 9 (Killed)"), o.err);
  int left = 0;
  for (const auto& entry : fs::directory_iterator("/proc"))
    left += contains(of_process(entry.path() / "cmdline"), at("run"));
  CHECK(left == 0);
}

TEST_CASE("launch: signals that are ignored, as nohup and daemons have it, neither stop a run nor hang one") {
  const ScratchDirectory dir;
  std::ofstream(dir / "corpus.jsonl") << R"({"text": "A corpus of one line."})"
                                      << "\n";
  const auto begin = [](const Strings& more) {
    Strings all = {"launch", "-n", "2", "--", "pretrain", "--what", "text"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  // How children end nobody learns who ignores SIGCHLD.
  const Outcome wrong = run(begin({"--tpyo"}), [] { std::signal(SIGCHLD, SIG_IGN), ::alarm(30); });
  CHECK(wrong.exit == 2);
  CHECK_MESSAGE(contains(wrong.err, "unknown key '--tpyo'"), wrong.err);
  const std::string out = dir / "run";
  std::thread closes([&] {
    for (int i = 0; i < 10000 && !fs::exists(out + "/checkpoints/step-00000001/DONE"); ++i)
      std::this_thread::sleep_for(milliseconds(2));
    CHECK(kill_rank(out, -1, SIGHUP));
  });
  const Outcome o =
      run(begin({"--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--text", dir / "corpus.jsonl",
                 "--train.micro_batches", "2", "--steps", "40", "--train.save_every", "1", "--out", out}),
          [] { std::signal(SIGHUP, SIG_IGN); });
  closes.join();
  CHECK_MESSAGE(o.exit == 0, o.err);
}

TEST_CASE("launch: MFU is of the cores that the ranks have, however many ranks there are") {
  const ScratchDirectory dir;
  const int ranks = 2 * usable_cores();
  if (ranks > 16) return;
  std::ofstream(dir / "corpus.jsonl") << R"({"text": "A corpus of one line."})"
                                      << "\n";
  const auto one = [&](const char* out) { return text_run(dir / "corpus.jsonl", dir / out, ranks, 1); };
  const Outcome o = run(launched_text_run(ranks, one("many")));
  CHECK_MESSAGE(o.exit == 0, o.err);
  CHECK(contains(o.err, cat(" GFLOP/s; ", ranks, " ranks of a machine have ", usable_cores(), " core")));
  CHECK(run(one("one")).exit == 0);
  const double shared = lines_of(dir / "many/run.jsonl")[0].at("peak_flops").as_double(),
               own = lines_of(dir / "one/run.jsonl")[0].at("peak_flops").as_double();
  CHECK(shared < 1.5 * own);  // rates differ by the minute
  CHECK(own < 1.5 * shared);
}

TEST_CASE("launch: no rank outlives a launcher that is killed") {
  const ScratchDirectory dir;
  const std::string out = dir / "run";
  std::ofstream(dir / "corpus.jsonl") << R"({"text": "A corpus of one line."})"
                                      << "\n";
  std::jthread killer([&] {
    for (int i = 0; i < 10000 && !fs::exists(out + "/run.jsonl"); ++i) std::this_thread::sleep_for(milliseconds(2));
    CHECK(kill_rank(out, -1));
  });
  run(launched_text_run(2, text_run(dir / "corpus.jsonl", out, 2, 100000)));
  killer.join();
  bool left = true;
  for (int i = 0; i < 1000 && left; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    left = kill_rank(out, 0, 0) || kill_rank(out, 1, 0);
  }
  CHECK_FALSE(left);
  kill_rank(out, 0), kill_rank(out, 1);
}

TEST_CASE("configs/slurm.sh: the ranks that srun starts are one run, which is queued again when its time is up") {
  const ScratchDirectory dir;
  const auto script = [&](const std::string& name, const std::string& text) {
    std::ofstream(dir / name) << "#!/bin/sh\n" << text;
    fs::permissions(dir / name, fs::perms::owner_all);
  };
  script("srun",
         "while case $1 in -*) ;; *) false ;; esac; do shift; done\n"
         "i=0 ranks= status=0\n"
         "while [ $i -lt $SLURM_NTASKS ]; do\n"
         "  SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_STEP_ID=0 SLURM_STEP_NUM_NODES=1 \"$@\" & ranks=\"$ranks $!\"\n"
         "  i=$((i + 1))\n"
         "done\n"
         "[ ! -e stop ] || { while [ ! -e out/checkpoints/step-00000002/DONE ]; do sleep 0.02; done\n"
         "  kill -TERM $ranks; }\n"
         "for r in $ranks; do wait $r || status=$?; done\n"
         "exit $status\n");
  script("scontrol", "echo $* > queued\n");
  std::ofstream corpus(dir / "corpus.jsonl");
  for (int i = 0; i < 20; ++i)
    corpus << R"({"text": "A corpus of line )" << i << R"(, and of nothing else."})"
           << "\n";
  corpus.close();
  const std::string root = fs::current_path(),
                    run_of =
                        "pretrain --what text --config " + root + "/configs/model/mesh.json --tokenizer " + root +
                        "/data/tokenizer --text corpus.jsonl --train.micro_batches 4 --train.micro_batch_samples 1 "
                        "--train.save_every 1 --steps ";
  const auto under_slurm = [&](const std::string& arguments) {
    const int status = std::system(cat("cd ", dir / "", " && PATH=.:$PATH SLURM_JOB_ID=test", ::getpid(),
                                       " SLURM_NTASKS=2 SLURM_CPUS_PER_TASK=1 ONEVISION=", program_path(), " sh ", root,
                                       "/configs/slurm.sh ", run_of, arguments, " 2> errors")
                                       .c_str());
    return WEXITSTATUS(status);
  };
  CHECK_MESSAGE(under_slurm("4 --out two --parallel.pipeline 2") == 0, read_file(dir / "errors"));
  CHECK(contains(read_file(dir / "errors"), "2 ranks (SLURM_PROCID, SLURM_NTASKS)"));
  CHECK(!fs::exists(dir / "queued"));
  CHECK(std::system(cat("cd ", dir / "", " && ", program_path(), " ", run_of, "4 --out one 2> errors").c_str()) == 0);
  CHECK(sha256_file(dir / "one/model/model.safetensors") == sha256_file(dir / "two/model/model.safetensors"));

  std::ofstream(dir / "stop") << "";
  CHECK_MESSAGE(under_slurm("5000 --out out") == 143, read_file(dir / "errors"));
  CHECK(read_file(dir / "queued") == cat("requeue test", ::getpid(), "\n"));
}
