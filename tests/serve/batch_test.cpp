// Files of requests: what becomes of their lines, and of a run that is killed.
#include "serve/batch.h"

#include <filesystem>

#include "base/io/file.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/serve/served_model.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("batch: both kinds of lines, in order; a bad line is a record; a cut output is gone on with") {
  const SmallService small;
  serve::Service s = small.service();
  const ScratchDirectory dir;
  s.media.media_path = dir.path();
  write_durably(dir / "a.png", read_file("tests/golden/images_fast/tiny.png"));
  std::string in;
  for (int i = 0; i < 6; ++i)
    in += cat(R"({"id":"q)", i, R"(","image":"a.png","prompt":"number )", i, R"(","max_tokens":)", 3 + i,
              ",\"kept\":true}\n");
  in += "this is no JSON\n";
  in += R"({"custom_id":"o1","method":"POST","url":"/v1/chat/completions","body":{"messages":)"
        R"([{"role":"user","content":"x"}],"max_tokens":4}})"
        "\n";
  in += R"({"custom_id":"o2","method":"POST","url":"/v1/chat/completions","body":{"messages":[]}})"
        "\n";
  in += R"({"custom_id":"o3","method":"POST","url":"/v1/embeddings","body":{}})"
        "\n";
  in += R"({"id":7,"image":"none.png","prompt":"x"})"
        "\n";
  in += R"({"prompt":"no id","n":2,"temperature":1,"seed":1,"max_tokens":3})"
        "\n";
  in += R"({"image":"a.png","prompt":"where?","max_tokens":3,"image_attention":true})"
        "\n";
  write_durably(dir / "in.jsonl", in);
  const auto run = [&](const std::string& out) {
    Engine engine(*small.model, small.engine());
    return run_batch(s, engine, {.in = dir / "in.jsonl", .out = out, .at_once = 5});
  };
  const serve::BatchCounts counts = run(dir / "out.jsonl");
  CHECK(counts.answered == 9);
  CHECK(counts.failed == 4);
  std::vector<Json> records;
  JsonlReader reader(dir / "out.jsonl");
  for (Json j; reader.next(&j);) records.push_back(j);
  REQUIRE(records.size() == 13);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(records[i].at("id").as_string() == cat("q", i));
    CHECK(records[i].at("kept").as_bool());
    CHECK(records[i].at("usage").at("completion_tokens").as_int() == static_cast<std::int64_t>(3 + i));
  }
  CHECK(records[6].at("error").at("message").as_string() != "");
  CHECK(records[7].at("response").at("status_code").as_int() == 200);
  CHECK(records[8].at("response").at("status_code").as_int() == 400);
  CHECK(records[9].at("response").at("status_code").as_int() == 404);
  CHECK(records[10].find("output") == nullptr);
  CHECK(records[11].at("output").size() == 2);
  CHECK(records[12].at("image_attention").at("tokens").size() == 3);
  // What was there with an error is not forgotten when the command is given again.
  const serve::BatchCounts again = run(dir / "out.jsonl");
  CHECK(again.answered + again.failed == 0);
  CHECK(again.before == 13);
  CHECK(again.failed_before == 4);
  // Killed anywhere, also within a line: every line once, and what does not name the moment is the same.
  const std::string whole = read_file(dir / "out.jsonl");
  for (const std::size_t cut :
       {std::size_t{0}, std::size_t{1}, whole.size() / 3, whole.size() / 2, whole.size() - 1, whole.size()}) {
    write_durably(dir / "cut.jsonl", whole.substr(0, cut));
    write_durably(dir / "cut.jsonl.asked.json", read_file(dir / "out.jsonl.asked.json"));
    run(dir / "cut.jsonl");
    JsonlReader lines(dir / "cut.jsonl");
    std::size_t n = 0;
    for (Json j; lines.next(&j); ++n) {
      REQUIRE(n < records.size());
      if (records[n].find("output")) CHECK(j.at("output").dump() == records[n].at("output").dump());
    }
    CHECK(n == records.size());
  }
  write_durably(dir / "other.jsonl", "{\"id\":\"else\"}\n");
  CHECK(contains(thrown([&] { run(dir / "other.jsonl"); }), "is not an answer to line 1"));
}

TEST_CASE("batch: whoever owns the files is told whether one is missing or may not be read; others are not") {
  const SmallService small;
  serve::Service s = small.service();
  const ScratchDirectory dir;
  make_directories(dir / "in");
  s.media.media_path = dir / "in";
  write_durably(dir / "outside.png", read_file("tests/golden/images_fast/tiny.png"));
  write_durably(dir / "in/in.jsonl",
                "{\"image\":\"none.png\",\"prompt\":\"x\"}\n{\"image\":\"../outside.png\",\"prompt\":\"x\"}\n");
  const auto messages = [&](bool own, const std::string& out) {
    s.media.own_files = own;
    Engine engine(*small.model, small.engine());
    CHECK(run_batch(s, engine, {.in = dir / "in/in.jsonl", .out = out}).failed == 2);
    std::vector<std::string> told;
    JsonlReader reader(out);
    for (Json j; reader.next(&j);) told.push_back(j.at("error").at("message").as_string());
    return told;
  };
  const auto own = messages(true, dir / "own.jsonl"), others = messages(false, dir / "others.jsonl");
  CHECK(contains(own[0], "there is no " + (dir / "in/none.png")));
  CHECK(contains(own[1], "outside.png does not lie below " + (dir / "in")));
  CHECK(others[0] == others[1]);
}

TEST_CASE("batch: an answer is never taken for one to another line, or of another model") {
  const SmallService small;
  const serve::Service s = small.service();
  const ScratchDirectory dir;
  const auto lines = [&](const std::string& first, const std::string& more = "") {
    write_durably(dir / "in.jsonl", cat("{\"id\":\"1\",\"prompt\":\"", first, "\",\"max_tokens\":2}\n", more));
  };
  const auto run = [&](const std::string& model) {
    Engine engine(*small.model, small.engine());
    return run_batch(s, engine, {.in = dir / "in.jsonl", .out = dir / "out.jsonl", .model = model});
  };
  lines("how many ?");
  CHECK(run("a").answered == 1);
  const std::string answers = read_file(dir / "out.jsonl");
  lines("what color ?");
  CHECK(contains(thrown([&] { run("a"); }), "line 1 answers what line 1 of"));
  lines("how many ?");
  CHECK(contains(thrown([&] { run("b"); }), "answers of another model"));
  CHECK(read_file(dir / "out.jsonl") == answers);
  lines("how many ?", "{\"id\":\"2\",\"prompt\":\"x\",\"max_tokens\":2}\n");  // a longer input goes on
  const serve::BatchCounts counts = run("a");
  CHECK((counts.before == 1 && counts.answered == 1));
  // A bad line is the same under another name of the file.
  write_durably(dir / "in.jsonl", read_file(dir / "in.jsonl") + "no JSON\n");
  run("a");
  {
    Engine engine(*small.model, small.engine());
    const auto again = run_batch(s, engine, {.in = dir.path() + "/./in.jsonl", .out = dir / "out.jsonl", .model = "a"});
    CHECK((again.before == 3 && again.failed_before == 1));
  }
  write_durably(dir / "out.jsonl.asked.json", "{}");
  CHECK(contains(thrown([&] { run("a"); }), "out.jsonl.asked.json: is not what batch writes"));
  std::filesystem::remove(dir / "out.jsonl.asked.json");
  CHECK(contains(thrown([&] { run("a"); }), "which says what was asked, is missing"));
  write_durably(dir / "in.jsonl", "[{\"id\":\"1\"},\n {\"id\":\"2\"}]\n");
  CHECK(contains(thrown([&] { run("a"); }), "is a JSON array; expected JSON lines"));
  write_durably(dir / "in.jsonl", "\n");
  CHECK(contains(thrown([&] { run("a"); }), "has no line"));
}

TEST_CASE("batch: killed again and again, at any of its steps, it ends with every line once and the same answers") {
  const SmallService small;
  const serve::Service s = small.service();
  const ScratchDirectory dir;
  std::string in;
  for (int i = 0; i < 12; ++i)
    in += i % 5 == 4 ? "no JSON\n"
                     : cat(R"({"prompt":"number )", i, R"(","temperature":1,"seed":3,"max_tokens":4})", "\n");
  write_durably(dir / "in.jsonl", in);
  const auto run = [&](const char* out) {
    Engine engine(*small.model, small.engine());
    run_batch(s, engine, {.in = dir / "in.jsonl", .out = dir / out, .at_once = 3});
  };
  run("whole.jsonl");
  for (int every = 1; every < 8; every += 2) {
    const std::string name = cat("killed", every, ".jsonl");
    int code = -1, kills = 0;
    for (; code != 0 && kills < 100; ++kills) {
      code = in_child([&] {
        die_at_step(every + kills % 9);  // of a run: the first few are its opening
        run(name.c_str());
      });
      REQUIRE((code == 0 || code == 128 + SIGKILL));
    }
    CHECK(code == 0);
    CHECK(kills > 1);
    JsonlReader whole(dir / "whole.jsonl"), killed(dir / name);
    std::size_t n = 0;
    for (Json a, b; whole.next(&a); ++n) {
      REQUIRE(killed.next(&b));
      CHECK(a.at("id").dump() == b.at("id").dump());
      for (const char* key : {"output", "error"})
        CHECK((a.find(key) ? a.at(key).dump() : "") == (b.find(key) ? b.at(key).dump() : ""));
    }
    CHECK(n == 12);
    Json more;
    CHECK_FALSE(killed.next(&more));
  }
}
