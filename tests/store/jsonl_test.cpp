#include "store/jsonl.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include "base/error.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

Json line(int step) { return Json::object({{"step", step}, {"text", "ä \n \"quoted\""}}); }

std::vector<std::int64_t> steps_in(const std::string& path) {
  std::vector<std::int64_t> steps;
  JsonlReader reader(path);
  for (Json value; reader.next(&value);) steps.push_back(value.at("step").as_int());
  return steps;
}

using Steps = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("lines come back in order; empty lines, CRLF and a missing last newline are no fault") {
  const ScratchDirectory dir;
  write_durably(dir / "a", "{\"step\":1}\r\n\n  \n{\"step\":2}\n{\"step\":3}");
  CHECK(steps_in(dir / "a") == Steps{1, 2, 3});
  write_durably(dir / "empty", "");
  CHECK(steps_in(dir / "empty").empty());
}

TEST_CASE("a malformed line is named by file, line and column, and reading goes on behind it") {
  const ScratchDirectory dir;
  write_durably(dir / "a", "{\"step\":1}\n\n{\"step\":}\n{\"step\":4}\n");
  JsonlReader reader(dir / "a");
  Json value;
  CHECK(reader.next(&value));
  try {
    reader.next(&value);
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    CHECK(std::string(e.what()).rfind(dir / "a:3:9: malformed JSON", 0) == 0);
  }
  CHECK(reader.next(&value));
  CHECK(value.at("step").as_int() == 4);
  CHECK(reader.line() == 4);
  CHECK(!reader.next(&value));
}

TEST_CASE("every written line is readable at once") {
  const ScratchDirectory dir;
  JsonlWriter writer = JsonlWriter::create(dir / "log");
  for (int step = 1; step <= 3; ++step) {
    writer.write(line(step));
    CHECK(steps_in(dir / "log").back() == step);
  }
  JsonlWriter::create(dir / "log");
  CHECK(steps_in(dir / "log").empty());
}

TEST_CASE("a log cut at any byte resumes after its last whole line (R-37)") {
  const ScratchDirectory dir;
  JsonlWriter writer = JsonlWriter::create(dir / "log");
  for (int step = 1; step <= 3; ++step) writer.write(line(step));
  const std::string whole = read_file(dir / "log");
  for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    write_durably(dir / "log", whole.substr(0, bytes));
    Steps expected;
    for (int step = 1; step <= 3; ++step)
      if (bytes >= whole.size() / 3 * static_cast<std::size_t>(step)) expected.push_back(step);
    JsonlWriter::resume(dir / "log").write(line(9));
    expected.push_back(9);
    CHECK(steps_in(dir / "log") == expected);
  }
}

TEST_CASE("a resumed log drops the lines from the first that is not kept; a broken whole line is an error") {
  const ScratchDirectory dir;
  JsonlWriter::resume(dir / "log").write(line(1));
  {
    JsonlWriter writer = JsonlWriter::resume(dir / "log");
    for (int step = 2; step <= 5; ++step) writer.write(line(step));
  }
  JsonlWriter::resume(dir / "log", [](const Json& j) { return j.at("step").as_int() <= 3; }).write(line(4));
  CHECK(steps_in(dir / "log") == Steps{1, 2, 3, 4});
  write_durably(dir / "log", "{\"step\":1}\noops\n{\"step\":3}\n");
  CHECK_THROWS_AS(JsonlWriter::resume(dir / "log"), Error);
  CHECK(read_file(dir / "log") == "{\"step\":1}\noops\n{\"step\":3}\n");
}

TEST_CASE("a full disk while logging loses no line that was written, and the next line fits again") {
  const ScratchDirectory dir;
  JsonlWriter writer = JsonlWriter::create(dir / "log");
  writer.write(line(1));
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = read_file(dir / "log").size() + 5;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  Exit exit = Exit::done;
  try {
    writer.write(line(2));
  } catch (const Error& e) { exit = e.exit(); }
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(exit == Exit::machine_failed);
  CHECK(steps_in(dir / "log") == Steps{1});
  writer.write(line(3));
  CHECK(steps_in(dir / "log") == Steps{1, 3});
}

TEST_CASE("a log killed at every step of a resume and a write keeps every earlier line") {
  const ScratchDirectory dir;
  int checked = 0;
  const int kills = kill_at_every_step([&] { write_durably(dir / "log", "{\"step\":1}\n{\"st"); },
                                       [&] { JsonlWriter::resume(dir / "log").write(line(2)); },
                                       [&](const std::string& where) {
                                         JsonlWriter::resume(dir / "log").write(line(9));
                                         const Steps steps = steps_in(dir / "log");
                                         CHECK_MESSAGE((steps == Steps{1, 9} || steps == Steps{1, 2, 9}), where);
                                         ++checked;
                                       });
  CHECK(kills == 2 * 3);  // open, truncate, write
  CHECK(checked == kills);
}
