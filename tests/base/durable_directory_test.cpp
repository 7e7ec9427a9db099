#include "base/io/durable_directory.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/io/file.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

void save(const std::string& path, const std::string& content) {
  DurableDirectory directory(path, "test");
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

TEST_CASE("what stands where a directory is prepared, and is the user's, stays") {
  const ScratchDirectory dir;
  const std::string path = dir / "out";
  for (const char* suffix : {".partial", ".old"})
    for (const bool file : {false, true}) {
      clear(path);
      const std::string theirs = path + suffix, mine = file ? theirs : theirs + "/mine";
      if (!file) std::filesystem::create_directory(theirs);
      write_durably(mine, "mine");
      CHECK(contains(thrown([&] { save(path, "new"); }), theirs + ": stands where"));
      CHECK(read_file(mine) == "mine");
      CHECK(!std::filesystem::exists(path));
    }
  clear(path);
  save(path, "old"), save(path, "new");
  CHECK(list_directory(path) == std::vector<std::string>{"DONE", "a", "inside"});
}

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
    DurableDirectory directory(dir / "save", "test");
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

TEST_CASE("DONE says who wrote the directory and proves its files: any flipped bit, in DONE too, is noticed") {
  const ScratchDirectory dir;
  const std::string path = dir / "model";
  save(path, "a model");
  CHECK(read_file(path + "/DONE").starts_with("onevision test, revision "));
  DurableDirectory::verify(path, "test");
  CHECK(thrown([&] { DurableDirectory::verify(path, "merge"); }).find("was written by `test`") != std::string::npos);
  int flips = 0;
  for (const char* name : {"a", "inside/b", "DONE"}) {
    const std::string file = path + "/" + name, whole = read_file(file);
    for (std::size_t bit = 0; bit < 8 * whole.size(); bit += 3, ++flips) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
      write_durably(file, flipped);
      const std::string message = thrown([&] { DurableDirectory::verify(path, "test"); });
      CHECK_MESSAGE(message.find(file) != std::string::npos, name, " bit ", bit, ": ", message);
    }
    write_durably(file, whole);
  }
  CHECK(flips > 500);
  DurableDirectory::verify(path, "test");
  std::filesystem::remove(path + "/inside/b");
  CHECK(thrown([&] { DurableDirectory::verify(path, "test"); }).find("inside/b: is missing") != std::string::npos);
}

TEST_CASE("what users put into a directory stays when it is written again, killed at any step") {
  const ScratchDirectory dir;
  const std::string path = dir / "model";
  const auto mine = [&] {
    return read_file(path + "/README.md") == "mine" && read_file(path + "/code/modeling.py") == "code" &&
           std::filesystem::is_symlink(path + "/link");
  };
  kill_at_every_step(
      [&] {
        clear(path);
        save(path, "old");
        write_durably(path + "/README.md", "mine");
        make_directory(path + "/code", "");
        write_durably(path + "/code/modeling.py", "code");
        std::filesystem::create_symlink("nowhere", path + "/link");
      },
      [&] { save(path, "new"); },
      [&](const std::string& where) {
        DurableDirectory::recover(path);
        CHECK_MESSAGE(mine(), where);
      });
  CHECK(state(path) == "new");
  CHECK(mine());
  CHECK(DurableDirectory::foreign_files(path) == std::vector<std::string>{"README.md", "code/modeling.py", "link"});
  save(path, "newer");
  CHECK(mine());
  DurableDirectory::verify(path, "test");

  // A name that the new directory needs, and a file of ours that somebody changed, are refused by name.
  std::filesystem::remove(path + "/DONE");
  save(dir / "other", "x");
  std::filesystem::copy(dir / "other/DONE", path + "/DONE");
  CHECK(thrown([&] { save(path, "next"); }).find("model/a: is not what `test` wrote") != std::string::npos);
  CHECK(state(path) == "newer");
}

TEST_CASE("an empty directory of the user's comes along, and a pipe is refused before the work begins") {
  const ScratchDirectory dir;
  const std::string path = dir / "model";
  save(path, "old");
  make_directories(path + "/mine/later");
  save(path, "new");
  CHECK(state(path) == "new");
  CHECK(std::filesystem::is_directory(path + "/mine/later"));
  DurableDirectory::verify(path, "test");
  REQUIRE(::mkfifo((path + "/pipe").c_str(), 0600) == 0);
  CHECK(thrown([&] { DurableDirectory::check(path, "test"); }).find("model/pipe: is a pipe") != std::string::npos);
}

TEST_CASE("another command's directory is not replaced") {
  const ScratchDirectory dir;
  save(dir / "world", "toys");
  for (const auto& f : {std::function<void()>([&] { DurableDirectory(dir / "world", "merge"); }),
                        std::function<void()>([&] { DurableDirectory::check(dir / "world/", "merge"); })})
    CHECK(thrown(f).find(": was written by `test`, so `merge` does not replace it") != std::string::npos);
  CHECK(state(dir / "world") == "toys");
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"world"});
  write_durably(dir / "world/DONE", "");  // as older programs left it
  CHECK(thrown([&] { save(dir / "world", "x"); }).find("world/DONE: does not say which command") != std::string::npos);
}
