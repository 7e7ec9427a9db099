// The launched program in mode disaggregated, when a rank of it is killed.
#include <doctest/doctest.h>

#include <thread>

#include "base/config.h"
#include "tests/check.h"

#include "tests/cli/program.h"

namespace ov::test {

TEST_CASE("rl: launched, a generator that is killed is no failure while another lives, and the last one is") {
  const ScratchDirectory dir;
  const std::string model = dir / "model", records = dir / "records.jsonl";
  CHECK(run({"merge", "--config", "configs/model/mesh.json", "--tokenizer", "data/tokenizer", "--out", model}).exit ==
        0);
  std::string lines;
  for (int i = 0; i < 8; ++i) lines += cat(R"({"problem":"what is )", i, R"( ?","answer":")", i, "\"}\n");
  write_durably(records, lines);
  for (const char* generators : {"2", "1"}) {
    INFO(generators, " generators");
    const std::string out = dir / (std::string("run") + generators);
    std::thread killer([&] {
      for (int i = 0; i < 4000; ++i) {
        if (path_exists(out + "/run.jsonl") && contains(read_file(out + "/run.jsonl"), "\"type\":\"step\"")) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      kill_rank(out, 2);
    });
    const Outcome o = run({"launch",
                           "-n",
                           "3",
                           "--",
                           "rl",
                           "--model",
                           model,
                           "--data",
                           records,
                           "--out",
                           out,
                           "--steps",
                           "24",
                           "--rl.mode",
                           "disaggregated",
                           "--rl.generators",
                           generators,
                           "--rl.staleness",
                           "1",
                           "--rl.prompts",
                           "2",
                           "--rl.group",
                           "2",
                           "--rl.max_new_tokens",
                           "4"});
    killer.join();
    CHECK_MESSAGE(contains(o.err, "rank 2, a generator, is lost before update "), o.err);
    if (*generators == '2') {
      CHECK_MESSAGE(o.exit == 0, o.err);
      CHECK(path_exists(out + "/model/DONE"));
    } else {
      CHECK(o.exit == 3);
      CHECK_MESSAGE(contains(o.err, "; no other is left. The same command goes on from the last checkpoint\n"), o.err);
    }
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
  CHECK(contains(none.out, "0 of 1 records kept\n"));
  for (const char* name : {"rollouts.jsonl", "manifest.json", "page.html"}) CHECK(path_exists(out + "/" + name));
  Strings all = arguments;
  all.insert(all.end(), {"--rl.task_filter", "false", "--rl.reward_filter", "off"});
  const Outcome one = run(all);
  CHECK_MESSAGE(one.exit == 0, one.err);
  CHECK(contains(one.out, "1 of 1 records kept\n"));
}

}  // namespace ov::test
