// Signals to who launched the ranks of a run.
#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "tests/cli/program.h"
#include "tests/comm/forked_ranks.h"
#include "tests/parallel/text_run.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

using std::chrono::milliseconds;

namespace {

// A run of two ranks that does not end by itself, once it has saved a step: `meanwhile`, given its directory.
Outcome disturbed(const std::string& out, const std::function<void()>& meanwhile) {
  std::ofstream(out + ".jsonl") << R"({"text": "A corpus of one line."})"
                                << "\n";
  std::jthread other([&] {
    for (int i = 0; i < 30000 && !fs::exists(out + "/checkpoints/step-00000001/DONE"); ++i)
      std::this_thread::sleep_for(milliseconds(2));
    meanwhile();
  });
  const Outcome o = run(launched_text_run(2, text_run(out + ".jsonl", out, 2, 100000, {"--train.save_every", "1"})));
  other.join();
  return o;
}

}  // namespace

TEST_CASE("launch: SIGINT, SIGTERM and SIGHUP end all ranks after one step, saved, and are named as without launch") {
  const ScratchDirectory dir;
  for (const auto& [signal, name] : {std::pair{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}}) {
    const std::string out = dir / name;
    const Outcome o = disturbed(out, [&, signal = signal] { CHECK(kill_rank(out, -1, signal)); });
    CHECK_MESSAGE(o.exit == 128 + signal, o.err);
    CHECK_MESSAGE(contains(o.err, cat(": stopped by ", name, " after step ")), o.err);
    CHECK(contains(o.err, " of 100000, which is saved; the same command goes on from there"));
    const Json last = lines_of(out + "/run.jsonl").back();
    CHECK(last.at("type").as_string() == "stop");
    CHECK(last.at("signal").as_int() == signal);
    CHECK(contains(*newest_checkpoint(out), cat(last.at("step").as_int())));
  }
}
