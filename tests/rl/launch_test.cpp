// The launched program in mode disaggregated, when a rank of it is killed.
#include <doctest/doctest.h>

#include <csignal>
#include <thread>

#include "base/config.h"
#include "tests/check.h"
#include "tests/cli/program.h"

namespace ov::test {

TEST_CASE(
    "rl: launched, a generator that is killed is no failure while another lives, and the last one is; SIGTERM saves") {
  const ScratchDirectory dir;
  const std::string model = dir / "model", records = dir / "records.jsonl";
  CHECK(run({"merge", "--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--out", model}).exit ==
        0);
  std::string lines;
  for (int i = 0; i < 8; ++i) lines += cat(R"({"problem":"what is )", i, R"( ?","answer":")", i, "\"}\n");
  write_durably(records, lines);
  struct Case {
    const char *generators, *steps;
    int rank, signal;
  };
  for (const Case& c : {Case{"2", "100", 2, SIGKILL}, {"1", "5000", 2, SIGKILL}, {"2", "5000", -1, SIGTERM}}) {
    INFO(c.generators, " generators, rank ", c.rank, " gets signal ", c.signal);
    const std::string out = dir / cat("run", c.generators, c.signal);
    std::thread killer([&] {
      for (int i = 0; i < 4000; ++i) {
        if (path_exists(out + "/run.jsonl") && contains(read_file(out + "/run.jsonl"), "\"type\":\"step\"")) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      kill_rank(out, c.rank, c.signal);
    });
    Strings arguments = {"launch", "-n", "3", "--", "rl", "--model", model, "--data", records, "--out", out};
    for (const char* more : {"--steps", c.steps, "--rl.mode", "disaggregated", "--rl.generators", c.generators,
                             "--rl.staleness", "1", "--rl.prompts", "2", "--rl.group", "2", "--rl.max_new_tokens", "4"})
      arguments.emplace_back(more);
    const Outcome o = run(arguments);
    killer.join();
    if (c.signal == SIGTERM) {
      CHECK_MESSAGE(o.exit == 143, o.err);
      CHECK_MESSAGE(contains(o.err, "stopped by SIGTERM after step"), o.err);
      CHECK_MESSAGE(contains(o.err, "which is saved"), o.err);
      continue;
    }
    CHECK_MESSAGE(contains(o.err, "rank 2, a generator, is lost before update "), o.err);
    if (*c.generators == '2') {
      CHECK_MESSAGE(o.exit == 0, o.err);
      CHECK(path_exists(out + "/model/DONE"));
    } else {
      CHECK(o.exit == 3);
      CHECK_MESSAGE(contains(o.err, "; no other is left. The same command goes on from the last checkpoint\n"), o.err);
    }
  }
}

TEST_CASE("rl-select, rl: a picture that is not there is named with its record; a misspelt answer type is told") {
  const ScratchDirectory dir;
  const std::string model = dir / "model", records = dir / "records.jsonl";
  CHECK(run({"merge", "--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--out", model}).exit ==
        0);
  write_durably(records,
                R"({"problem":"what ?","answer":"B","answer_type":"choice"})"
                "\n"
                R"({"problem":"<image>what ?","answer":"B","answer_type":"multiple-choice","images":["gone.jpg"]})"
                "\n");
  for (const char* verb : {"rl-select", "rl"}) {
    const Outcome o = run({verb, "--model", model, "--data", records, "--out", dir / verb, "--rl.group", "2",
                           "--rl.max_new_tokens", "2", "--rl.prompts", "2"});
    CHECK(o.exit == 2);
    CHECK_MESSAGE(contains(o.err, "records.jsonl:2: "), o.err);
    CHECK(contains(o.err, "gone.jpg: cannot open"));
    CHECK(contains(o.err, "data.image_dir says"));
    CHECK(contains(o.err, "answer_type 'choice' (1): no verifier has this name"));
  }
}

TEST_CASE("rl-select: that no record is kept is an error that says why; what was rolled out is there to be read") {
  const ScratchDirectory dir;
  const std::string model = dir / "model", records = dir / "records.jsonl", out = dir / "selected";
  CHECK(run({"merge", "--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--out", model}).exit ==
        0);
  write_durably(records, R"({"problem":"what ?","answer":"no model says this"})"
                         "\n");
  const Strings arguments = {
      "rl-select", "--model", model, "--data", records, "--out", out, "--rl.group", "2", "--rl.max_new_tokens", "2"};
  const Outcome none = run(arguments);
  CHECK(none.exit == 2);
  CHECK_MESSAGE(contains(none.err, "kept.jsonl: no record is kept: source: too hard (1); rl.task_filter"), none.err);
  CHECK(contains(none.err, "none earned anything: rl.prompt"));
  CHECK(contains(none.out, "0 of 1 records kept\n"));
  for (const char* name : {"rollouts.jsonl", "manifest.json", "page.html"}) CHECK(path_exists(out + "/" + name));
  Strings all = arguments;
  all.insert(all.end(), {"--rl.task_filter", "false", "--rl.reward_filter", "off"});
  const Outcome one = run(all);
  CHECK_MESSAGE(one.exit == 0, one.err);
  CHECK(contains(one.out, "1 of 1 records kept\n"));
  // A run on what was kept that asks in another form is told so.
  const auto trained = [&](const char* prompt) {
    return run({"rl", "--model", model, "--data", records, "--keep", out + "/kept.jsonl", "--rl.group", "2", "--steps",
                "1", "--rl.max_new_tokens", "2", "--rl.prompts", "1", "--rl.prompt", prompt, "--out", dir / prompt})
        .err;
  };
  CHECK_FALSE(contains(trained("released"), "was selected with"));
  CHECK(contains(trained("plain"), "was selected with rl.prompt released, and is asked with rl.prompt plain"));
}

}  // namespace ov::test
