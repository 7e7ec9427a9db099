#include "base/io/durable_directory.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/io/file.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

void save(const std::string& path, const std::string& content) {
  DurableDirectory directory(path);
  AppendFile(directory.file("a"), 0).append(content);
  make_directory(directory.file("inside"), path);
  write_durably(directory.file("inside/b"), content);
  directory.commit();
}

// "old", "new", "none" when no complete directory stands there, else "mixture".
std::string state(const std::string& path) {
  if (!DurableDirectory::complete(path)) return "none";
  const std::string a = read_file(path + "/a"), b = read_file(path + "/inside/b");
  return a == b ? a : "mixture";
}

void clear(const std::string& path) {
  for (const char* suffix : {"", ".partial", ".old"}) std::filesystem::remove_all(path + suffix);
}

}  // namespace

TEST_CASE("a first directory killed at every step appears whole or not at all") {
  const ScratchDirectory dir;
  const std::string path = dir / "step-1";
  int none = 0, whole = 0;
  const int kills = kill_at_every_step([&] { clear(path); }, [&] { save(path, "new"); },
                                       [&](const std::string& where) {
                                         DurableDirectory::recover(path);
                                         const std::string found = state(path);
                                         CHECK_MESSAGE((found == "none" || found == "new"), where, ": ", found);
                                         none += found == "none";
                                         whole += found == "new";
                                       });
  CHECK(none > 0);
  CHECK(whole > 0);
  CHECK(none + whole == kills);
  CHECK(state(path) == "new");
}

TEST_CASE(
    "a directory that replaces another, killed at every step, is the old or the new one, and can be saved again") {
  const ScratchDirectory dir;
  const std::string path = dir / "step-1";
  int old_ones = 0, new_ones = 0;
  const int kills = kill_at_every_step(
      [&] {
        clear(path);
        save(path, "old");
      },
      [&] { save(path, "new"); },
      [&](const std::string& where) {
        DurableDirectory::recover(path);
        const std::string found = state(path);
        CHECK_MESSAGE((found == "old" || found == "new"), where, ": ", found);
        old_ones += found == "old";
        new_ones += found == "new";
        save(path, "next");
        CHECK_MESSAGE(state(path) == "next", where);
        CHECK(list_directory(dir.path()) == std::vector<std::string>{"step-1"});
      });
  CHECK(old_ones > 0);
  CHECK(new_ones > 0);
  CHECK(old_ones + new_ones == kills);
}

TEST_CASE("twin: writing into the final directory is caught by the same kills") {
  const ScratchDirectory dir;
  const std::string path = dir / "step-1";
  int mixtures = 0;
  const int kills = kill_at_every_step(
      [&] {
        clear(path);
        save(path, "old");
      },
      [&] {
        write_durably(path + "/a", "new");
        write_durably(path + "/inside/b", "new");
      },
      [&](const std::string&) { mixtures += state(path) == "mixture"; });
  CHECK(kills > 0);
  CHECK(mixtures > 0);
}

TEST_CASE("a directory that is not committed leaves nothing; one that is not ours is not replaced") {
  const ScratchDirectory dir;
  {
    DurableDirectory directory(dir / "save");
    write_durably(directory.file("a"), "x");
  }
  CHECK(list_directory(dir.path()).empty());

  make_directory(dir / "home", "");
  write_durably(dir / "home/letter", "dear");
  write_durably(dir / "file", "x");
  for (const std::string& path : {dir / "home", dir / "file"}) {
    try {
      save(path, "new");
      FAIL("replaced ", path);
    } catch (const Error& e) {
      CHECK(e.exit() == Exit::wrong_input);
      CHECK(std::string(e.what()).find(path) != std::string::npos);
    }
  }
  CHECK(read_file(dir / "home/letter") == "dear");

  make_directory(dir / "empty", "");
  save(dir / "empty/", "new");
  CHECK(state(dir / "empty") == "new");
}
