#include "base/io/directory_lock.h"

#include <doctest/doctest.h>

#include <csignal>

#include "base/error.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

std::string refusal(const std::string& path) {
  return thrown([&] { DirectoryLock lock(path); });
}

}  // namespace

TEST_CASE("a directory that a living process works in is refused by its number; a dead one does not block") {
  const ScratchDirectory dir;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    DirectoryLock lock(dir.path());
    if (::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(0);
  }
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(refusal(dir.path()).find(cat(dir.path(), ": in use by process ", child, ";")) == 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(refusal(dir.path()) == "");
  {
    const DirectoryLock lock(dir.path());
    CHECK(refusal(dir.path()).find(cat("in use by process ", ::getpid())) != std::string::npos);
  }
  CHECK(refusal(dir.path()) == "");
}
