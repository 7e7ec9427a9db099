// From pictures and a conversation file to a model that answers, with the program alone; and what stands between.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "tests/check.h"
#include "tests/cli/program.h"
#include "tests/golden_case.h"

using namespace ov;

namespace {

// Lessons and a fresh model, made once.
struct World {
  World() {
    REQUIRE(run({"synth", "--out", dir / "lessons", "--count", "4", "--seed", "3"}).exit == 0);
    REQUIRE(
        run({"merge", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer", "--out", dir / "init"})
            .exit == 0);
  }
  std::string lessons() const { return dir / "lessons" + "/conversations.json"; }
  Outcome train(const std::string& out, const std::vector<std::string>& more, void (*before)() = nullptr) const {
    std::vector<std::string> call = {"train",   "--model",  dir / "init", "--data.json",
                                     lessons(), "--out",    dir / out,    "--train.micro_batches",
                                     "2",       "--lr=1e-3"};
    call.insert(call.end(), more.begin(), more.end());
    return run(call, before);
  }
  std::string weights(const std::string& out) const { return sha256_file(dir / out + "/model/model.safetensors"); }
  ScratchDirectory dir;
};

std::string last_line(const std::string& err) {
  const auto end = err.find_last_not_of('\n');
  const auto begin = err.rfind('\n', end);
  return err.substr(begin == err.npos ? 0 : begin + 1);
}

void small_files() {
  const rlimit limit = {2000000, 2000000};  // the weights fit, the moments do not
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

TEST_CASE(
    "cli: a run goes on where it ended, to the same bits as one that was never stopped; a further call does nothing") {
  const World world;
  const Outcome whole =
      world.train("whole", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0"});
  CHECK(whole.exit == 0);
  CHECK(whole.out.empty());
  CHECK(world.train("parts", {"--steps", "2", "--schedule.decay", "constant", "--schedule.warmup", "0"}).exit == 0);
  CHECK(world.weights("parts") != world.weights("whole"));
  CHECK(
      world.train("parts", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0", "--threads", "1"})
          .exit == 0);
  CHECK(world.weights("parts") == world.weights("whole"));
  CHECK(run({"diff", world.dir / "parts" + "/run.jsonl", world.dir / "whole" + "/run.jsonl"}).exit == 0);
  CHECK(world.train("parts", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0"}).exit == 0);
  CHECK(world.weights("parts") == world.weights("whole"));
  CHECK(world.train("other", {"--steps", "4", "--data.seed", "5"}).exit == 0);
  CHECK(run({"diff", world.dir / "other" + "/run.jsonl", world.dir / "whole" + "/run.jsonl"}).exit == 1);
  CHECK(run({"generate", "--model", world.dir / "whole" + "/model", "--prompt", "What shape is red?",
             "--max_new_tokens", "4"})
            .exit == 0);
}

TEST_CASE(
    "cli: train.recompute auto says and logs what it chose; a resumed run chooses anew; bits do not depend on it") {
  const World world;
  const auto train = [&](const std::string& out, const char* steps, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"--steps", steps, "--schedule.decay", "constant", "--schedule.warmup", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return world.train(out, all);
  };
  CHECK(train("kept", "2", {}).exit == 0);
  const Outcome least = train("auto", "1", {"--train.recompute=auto", "--train.memory_budget", "0.000001"});
  CHECK(least.exit == 0);
  CHECK(test::contains(least.err, "train.recompute auto: 5 of 5 blocks; a step like the first takes"));
  CHECK(test::contains(least.err, "train.memory_budget: too much even so"));
  CHECK(test::contains(read_file(world.dir / "auto" + "/run.jsonl"), "\"recomputed_blocks\":5"));
  const Outcome most = train("auto", "2", {"--train.recompute=auto"});
  CHECK(most.exit == 0);
  CHECK(test::contains(most.err, "train.recompute auto: 0 of 5 blocks"));
  CHECK(test::contains(most.err, "this machine's"));
  CHECK(world.weights("auto") == world.weights("kept"));
}

TEST_CASE("cli: data that cannot be used is one clear line, and up to the limit it is skipped") {
  const World world;
  const std::string good = read_file(world.lessons());
  const std::string record =
      R"({"id": "x", "image": "images/none.png", "conversations": [{"from": "human", "value": "<image>\nA?"},
    {"from": "gpt", "value": "B"}]})";
  std::string with_fault = good;
  with_fault.insert(with_fault.find('[') + 1, record + ",");
  write_durably(world.dir / "lessons" + "/conversations.json", with_fault);
  Outcome o = world.train("strict", {"--steps", "4"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("none.png") != std::string::npos);
  o = world.train("lenient", {"--steps", "4", "--data.max_rejects", "1"});
  CHECK(o.exit == 0);
  const std::string rejects = read_file(world.dir / "lenient" + "/rejects.jsonl");
  CHECK(rejects.find("image_missing") != std::string::npos);
  // Looking at the first step for its size leaves no trace.
  for (const char* seed : {"1234", "5"})
    world.train("lenient", {"--steps", "4", "--data.max_rejects", "1", "--train.recompute=auto", "--data.seed", seed});
  CHECK(read_file(world.dir / "lenient" + "/rejects.jsonl") == rejects);

  write_durably(world.dir / "lessons" + "/conversations.json", good.substr(0, good.size() / 2));
  o = world.train("cut", {"--steps", "1"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("conversations.json:") != std::string::npos);
  o = world.train("none", {"--steps", "1", "--data.json", world.dir / "none.json"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("none.json") != std::string::npos);
}

TEST_CASE("cli: a disk that fills up while saving ends the run with what was saved before it intact") {
  const World world;
  const std::vector<std::string> first = {"--steps", "1", "--schedule.decay", "constant"};
  REQUIRE(world.train("run", first).exit == 0);
  const std::string before = world.weights("run");
  const Outcome o = world.train("run", {"--steps", "2", "--schedule.decay", "constant"}, small_files);
  CHECK(o.exit == 3);
  CHECK(last_line(o.err).starts_with("onevision: "));
  CHECK(last_line(o.err).find("cannot write") != std::string::npos);
  CHECK(world.weights("run") == before);
  CHECK(world.train("run", {"--steps", "2", "--schedule.decay", "constant"}).exit == 0);
  REQUIRE(world.train("straight", {"--steps", "2", "--schedule.decay", "constant"}).exit == 0);
  CHECK(world.weights("run") == world.weights("straight"));
}

namespace {

// Starts a long run, waits until its log has `lines` lines, and calls act(process). Returns its exit code, or 1000 plus
// the signal that ended it.
int stopped(const World& world, const std::string& out, const std::vector<std::string>& more, std::size_t lines,
            const std::function<void(pid_t)>& act) {
  std::vector<std::string> call = {program_path(),  "train", "--model", world.dir / "init", "--data.json",
                                   world.lessons(), "--out", out,       "--lr=1e-3"};
  call.insert(call.end(), more.begin(), more.end());
  const std::string err = out + ".err";
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<char*> argv;
    for (std::string& a : call) argv.push_back(a.data());
    argv.push_back(nullptr);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  const std::string log = out + "/run.jsonl";
  const auto count = [&] {
    const std::string text = std::filesystem::exists(log) ? read_file(log) : "";
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  };
  for (int wait = 0; wait < 3000 && count() < lines; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  act(child);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

const std::vector<std::string> constant = {"--schedule.decay", "constant", "--schedule.warmup", "0"};

std::vector<std::string> with(std::vector<std::string> more) {
  more.insert(more.end(), constant.begin(), constant.end());
  return more;
}

}  // namespace

TEST_CASE("cli: SIGINT, SIGTERM and SIGHUP finish the step, save it and say so; the same bits follow") {
  const World world;
  for (const auto& [signal, code, name] :
       {std::tuple{SIGINT, 130, "SIGINT"}, {SIGTERM, 143, "SIGTERM"}, {SIGHUP, 129, "SIGHUP"}}) {
    const std::string out = world.dir / name;
    CHECK(stopped(world, out, with({"--steps", "100000"}), 6, [&](pid_t p) { ::kill(p, signal); }) == code);
    const std::string said = last_line(read_file(out + ".err"));
    CHECK(said.find(cat("onevision: stopped by ", name, " after step ")) == 0);
    const auto checkpoints = list_directory(out + "/checkpoints");
    REQUIRE(checkpoints.size() == 1);
    const std::int64_t step = std::stoll(checkpoints[0].substr(5));
    CHECK(said.find(cat("after step ", step, " of 100000, which is saved")) != std::string::npos);
    CHECK(read_file(out + "/run.jsonl").find(cat(R"({"type":"stop","step":)", step)) != std::string::npos);
    const std::string more = std::to_string(step + 2);
    std::vector<std::string> call = with({"train", "--model", world.dir / "init", "--data.json", world.lessons(),
                                          "--out", out, "--lr=1e-3", "--steps", more});
    CHECK(run(call).exit == 0);
    call[6] = world.dir / "straight";
    CHECK(run(call).exit == 0);
    CHECK(world.weights(name) == world.weights("straight"));
    CHECK(run({"diff", out + "/run.jsonl", world.dir / "straight" + "/run.jsonl"}).exit == 0);
    std::filesystem::remove_all(world.dir / "straight");
  }
  // The second ends the process at once.
  CHECK(stopped(world, world.dir / "twice", {"--steps", "100000", "--train.micro_batches", "5000"}, 1, [&](pid_t p) {
          ::kill(p, SIGTERM);
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          ::kill(p, SIGTERM);
        }) == 1000 + SIGTERM);
}

TEST_CASE("cli: two runs in one directory: the second is told by which process it is used, and touches nothing") {
  const World world;
  const std::string out = world.dir / "run";
  Outcome second;
  pid_t first = 0;
  CHECK(stopped(world, out, {"--steps", "100000"}, 3, [&](pid_t p) {
          first = p;
          second = world.train("run", {"--steps", "100000"});
          ::kill(p, SIGKILL);
        }) == 1000 + SIGKILL);
  CHECK(second.exit == 2);
  CHECK(last_line(second.err).find(cat(out, ": in use by process ", first, ";")) != std::string::npos);
  CHECK(world.train("run", {"--steps", "2"}).exit == 0);  // a dead one's lock does not block
}

TEST_CASE("cli: with stdin, stdout and stderr closed no file takes their place") {
  const World world;
  REQUIRE(world
              .train("closed", {"--steps", "2"},
                     [] {
                       for (const int fd : {0, 1, 2}) ::close(fd);
                     })
              .exit == 0);
  REQUIRE(world.train("open", {"--steps", "2"}).exit == 0);
  CHECK(world.weights("closed") == world.weights("open"));
  CHECK(run({"diff", world.dir / "closed" + "/run.jsonl", world.dir / "open" + "/run.jsonl"}).exit == 0);
}

TEST_CASE("cli: keys that have no effect are refused by name, and so is an output that is read") {
  const World world;
  const std::string packs = world.dir / "packs";
  REQUIRE(run({"pack", "--model", world.dir / "init", "--sources", world.lessons(), "--out", packs}).exit == 0);
  const auto refused = [&](const std::vector<std::string>& call, const std::string& part) {
    const Outcome o = run(call);
    INFO(o.err);
    CHECK(o.exit == 2);
    CHECK(last_line(o.err).find(part) != std::string::npos);
  };
  const std::vector<std::string> packed = {"train", "--model", world.dir / "init", "--packs",
                                           packs,   "--out",   world.dir / "p"};
  for (const auto& [key, value] : {std::pair{"--data.turns", "shared_prefix"},
                                   {"--data.image_dir", "/nowhere"},
                                   {"--train.max_tokens", "10"},
                                   {"--train.micro_batch_samples", "7"}}) {
    std::vector<std::string> call = packed;
    call.insert(call.end(), {key, value});
    refused(call, cat("train: ", key, " has no effect beside data.packs"));
  }
  CHECK(!std::filesystem::exists(world.dir / "p"));
  refused({"synth", "--count", "3", "--what", "world", "--out", world.dir / "w"}, "--synth.count has no effect");
  refused({"plan", "--model", world.dir / "init", "--text.layers", "3"}, "--text.layers has no effect");
  refused({"plan", "--what", "vision", "--model", world.dir / "init"},
          "model.dir has no effect with --what vision: vision.* describe the tower");
  refused({"pretrain", "--what", "vision", "--model", world.dir / "init", "--regions", "x", "--out", world.dir / "v"},
          "model.dir has no effect with --what vision: vision.* describe the tower");
  refused({"inspect", "image", "x.png", "--in", "y", "--out", world.dir / "z"}, "--in has no effect");

  for (const std::vector<std::string>& more : {std::vector<std::string>{"rl", "--rl.staleness", "2"},
                                               {"rl", "--rl.replay_share", "0.2"},
                                               {"rl-select", "--rl.grey", "7"},
                                               {"train", "--parallel.chunks", "2"},
                                               {"train", "--lora.targets", "q_proj"}}) {
    std::vector<std::string> call = {more[0], "--model", world.dir / "init", "--out", world.dir / "r"};
    if (more[0] == "train") call.insert(call.end(), {"--data.json", world.lessons()});
    else call.insert(call.end(), {"--data", world.lessons()});
    call.insert(call.end(), more.begin() + 1, more.end());
    refused(call, more[1] == "--parallel.chunks" ? "parallel.chunks 2 has no effect"
                  : more[0] == "train"           ? "lora.targets has no effect without lora.rank"
                                                 : cat(more[1], " has no effect with"));
  }
  for (const char* divided : {"--parallel.pipeline", "--parallel.experts"})
    refused({"train", "--model", world.dir / "init", "--data.json", world.lessons(), "--out", world.dir / "r", divided,
             "2", "--optimizer.moments", "bf16_stochastic"},
            cat("optimizer.moments bf16_stochastic with ", std::string(divided).substr(2), " 2: not built"));
  refused({"plan", "--model", world.dir / "init", "--plan.ranks", "2"}, "plan.ranks needs plan.device");

  const std::string before = read_file(world.lessons());
  refused({"pack", "--model", world.dir / "init", "--sources", world.lessons(), "--out", world.lessons()},
          "is also read");
  CHECK(read_file(world.lessons()) == before);
  refused({"tokenizer", "--text", world.lessons(), "--out", world.dir / "init"}, "was written by `merge`");
  refused({"synth", "--out", world.dir / "init"}, "a command wrote it whole");
  const std::string input = test::dense_case(1), weights = world.dir / "init/model.safetensors";
  refused({"trace", "--model", world.dir / "init", "--input", input, "--out", weights}, "is also read");
  make_directories(world.dir / "run");
  write_durably(world.dir / "run/run.jsonl", "");
  refused({"report", "--stages", "a=" + (world.dir / "run"), "--out", world.dir / "run/run.jsonl"}, "is also read");
  refused({"train", "--model", world.dir / "init", "--data", world.lessons(), "--out", world.lessons()}, "is a file");

  // A file that the command does not read, but that no such command wrote.
  write_durably(world.dir / "texts.jsonl", "{\"text\": \"a\"}\n");
  std::filesystem::create_symlink("notes.txt", world.dir / "link");
  for (const std::string name : {"notes.txt", "link"}) {
    write_durably(world.dir / "notes.txt", "mine");
    const std::string out = world.dir / name;
    for (const std::vector<std::string>& call :
         {std::vector<std::string>{"pack", "--model", world.dir / "init", "--sources", world.lessons()},
          {"trace", "--model", world.dir / "init", "--input", input},
          {"inspect", "image", "tests/golden/images_fast/tiny.png"},
          {"inspect", "tokens", "--tokenizer", "data/tokenizer", "--in", world.dir / "texts.jsonl"},
          {"report", "--stages", "a=" + (world.dir / "run")}}) {
      std::vector<std::string> whole = call;
      whole.insert(whole.end(), {"--out", out});
      refused(whole, "so it is not replaced");
    }
    CHECK(read_file(world.dir / "notes.txt") == "mine");
  }
  for (int twice = 0; twice < 2; ++twice) {  // their own they replace
    CHECK(run({"inspect", "image", "tests/golden/images_fast/tiny.png", "--out", world.dir / "own"}).exit == 0);
    CHECK(run({"inspect", "tokens", "--tokenizer", "data/tokenizer", "--in", world.dir / "texts.jsonl", "--out",
               world.dir / "ids"})
              .exit == 0);
    CHECK(run({"pack", "--model", world.dir / "init", "--sources", world.lessons(), "--out", world.dir / "x.packs"})
              .exit == 0);
  }
}

TEST_CASE("cli: recall prints its lines whole, however long question and answer are") {
  const World world;
  std::string question;
  for (int i = 0; i < 300; ++i) question += "形状";
  write_durably(world.dir / "long.json", R"([{"id": "x", "conversations": [{"from": "human", "value": ")" + question +
                                             R"("}, {"from": "gpt", "value": "B"}]}])");
  const Outcome o =
      run({"recall", "--model", world.dir / "init", "--data", world.dir / "long.json", "--max_new_tokens", "2"});
  CHECK(o.exit == 1);
  CHECK(o.out.find(" " + question + " taught: B ") != std::string::npos);
  CHECK(o.out.ends_with("\n0 of 1 right\n"));
}
