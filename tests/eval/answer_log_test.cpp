// Answers that were paid for: a kill loses none, and results of one second have names of their own.
#include "eval/answer_log.h"

#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "eval/result_name.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/eval/asking.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("public tasks: killed again and again, a run pays for no answer twice and ends with the same results") {
  const ScratchDirectory dir;
  write_durably(dir / "p.png", read_file("tests/golden/images_fast/tiny.png"));
  std::string rows;
  for (int i = 0; i < 9; ++i)
    rows += cat(R"({"question": "q)", i, R"(", "answer": ")", i % 4, R"(", "image": "p.png"})", "\n");
  write_durably(dir / "d.jsonl", rows);
  const std::string asked = dir / "asked.txt";  // what was paid for, by all processes
  int busy = -1;                                // a question that gets no answer
  const auto run = [&](const std::string& out, const std::string& from = "http://x/v1") {
    return ask_tasks(answering([&](const Json& body) {
                       const std::string all = said(body);
                       const std::size_t at = all.find("[q") + 2;
                       if (std::atoi(all.c_str() + at) == busy)
                         return Json::object({{"error", Json::object({{"message", "busy"}})}});
                       AppendFile(asked, path_exists(asked) ? read_file(asked).size() : 0).append(all.substr(at, 1));
                       return reply(std::to_string((all[at] - '0') % 3));
                     }),
                     {.tasks = "chartqa", .data = dir / "d.jsonl", .split = "", .out = out, .from = from});
  };
  const auto samples = [&](const std::string& out) {  // the last
    std::string name;
    for (const std::string& file : list_directory(out + "/default"))
      if (contains(file, "_samples_")) name = file;
    return read_file(out + "/default/" + name);
  };
  const Json whole = run(dir / "whole");
  CHECK(whole.find("resumed") == nullptr);
  const std::size_t once = read_file(asked).size();
  CHECK(once == 9);
  for (const int every : {6, 9, 14}) {
    std::filesystem::remove(asked);
    const std::string out = dir / cat("killed", every);
    int code = -1, kills = 0;
    for (; code != 0 && kills < 100; ++kills) {
      code = in_child([&] {
        die_at_step(every + kills);
        run(out);
      });
      REQUIRE((code == 0 || code == 128 + SIGKILL));
    }
    CHECK(code == 0);
    CHECK(kills > 1);
    // One that dies between an answer and its line on the disk has paid for it: at most one a kill.
    CHECK(read_file(asked).size() <= once + static_cast<std::size_t>(kills));
    CHECK(samples(out) == samples(dir / "whole"));
    CHECK_FALSE(path_exists(out + "/default/chartqa.unfinished"));
  }
  // A request that failed is asked again, and it alone; another document at its place too.
  std::filesystem::remove(asked);
  busy = 4;
  CHECK(run(dir / "out").at("tasks").at("chartqa").at("failed").as_int() == 1);
  CHECK(read_file(asked).size() == 8);
  CHECK(
      contains(thrown([&] { run(dir / "out", "http://y/v1"); }), "answers of http://x/v1, where http://y/v1 is asked"));
  {
    const AnswerLog other(dir / "out/default/chartqa.unfinished", "http://x/v1");
    CHECK(contains(thrown([&] { run(dir / "out"); }), "in use by process"));
  }
  rows.replace(rows.find("q7"), 2, "q3");
  write_durably(dir / "d.jsonl", rows);
  busy = -1;
  const Json again = run(dir / "out");
  CHECK(again.at("resumed").as_int() == 7);
  CHECK(again.at("tasks").at("chartqa").at("failed").as_int() == 0);
  CHECK(read_file(asked).substr(8).size() == 2);
  CHECK_FALSE(path_exists(dir / "out/default/chartqa.unfinished"));
}

TEST_CASE("public tasks: runs that end in the same second get names of their own") {
  const ScratchDirectory dir;
  std::set<std::string> names;
  std::vector<std::thread> threads;
  std::mutex lock;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      const ResultName name(dir.path());
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // all of them have a name now
      write_durably(name.results(), "{}");
      const std::lock_guard hold(lock);
      names.insert(name.results());
    });
  for (auto& t : threads) t.join();
  CHECK(names.size() == 3);
  CHECK(list_directory(dir.path()).size() == 3);
  { const ResultName unused(dir.path()); }
  CHECK(list_directory(dir.path()).size() == 3);
}
