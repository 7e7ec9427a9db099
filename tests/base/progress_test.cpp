#include "base/progress.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>

#include "base/io/file.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

std::string written(const std::function<void()>& f) {
  const ScratchDirectory dir;
  std::fflush(nullptr);
  const int kept = ::dup(2), to = ::open((dir / "err").c_str(), O_WRONLY | O_CREAT, 0600);
  ::dup2(to, 2);
  ::close(to);
  f();
  std::fflush(nullptr);
  ::dup2(kept, 2);
  ::close(kept);
  return read_file(dir / "err");
}

}  // namespace

TEST_CASE("progress: no rate before there is one; a rate counts what was done since the bar was made") {
  CHECK(written([] { Progress("synth test", 300, "item", 300).update(300); }) == "synth test 300/300 item  took 0s\n");
  const std::string line = written([] {
    Progress bar("train", 1000, "step", 400);
    bar.update(500);
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  });
  REQUIRE(line.starts_with("train 500/1000 step  "));
  const double rate = std::stod(line.substr(21));
  CHECK(rate < 91);  // 100 steps in at least 1.1 s, not 500
  CHECK(rate > 1);
  CHECK(line.find(" step/s  took ") != line.npos);
}

TEST_CASE("progress: names and notes of any length are whole") {
  const std::string name(400, 'n'), note(400, 'o');
  CHECK(written([&] { Progress(name, 2, "step").update(2, note); }) == name + " 2/2 step  took 0s  " + note + "\n");
}
