#include "base/io/file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "base/io/durable_directory.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string old_content(3000, 'o'), new_content(5000, 'n');

// The exit and message of what `run` throws.
template <class F>
std::pair<Exit, std::string> error_of(F&& run) {
  try {
    run();
  } catch (const Error& e) { return {e.exit(), e.what()}; }
  return {Exit::done, ""};
}

void save_in_pieces(const std::string& path) {
  DurableWriter writer(path);
  writer.write(std::string_view(new_content).substr(0, 1000));
  writer.write(std::string_view(new_content).substr(1000));
  writer.commit();
}

// The twin: what a writer without a temporary name does.
void overwrite_in_place(const std::string& path) {
  AppendFile file(path, 0);
  file.append(std::string_view(new_content).substr(0, 1000));
  file.append(std::string_view(new_content).substr(1000));
}

int mixtures_after_kills(const std::function<void(const std::string&)>& save, int* kills) {
  const ScratchDirectory dir;
  const std::string path = dir / "model.bin";
  int mixtures = 0;
  *kills = kill_at_every_step([&] { write_durably(path, old_content); }, [&] { save(path); },
                              [&](const std::string&) {
                                const std::string found = read_file(path);
                                mixtures += found != old_content && found != new_content;
                              });
  return mixtures;
}

struct Step {
  std::string what, path;
};
std::vector<Step> recorded;

std::vector<Step> steps_of(const std::function<void()>& save) {
  recorded.clear();
  set_file_step_hook([](const char* what, const std::string& path, bool after) {
    if (after) recorded.push_back({what, path});
  });
  save();
  set_file_step_hook(nullptr);
  return recorded;
}

// A kill leaves the page cache alone, a power cut does not: what a rename publishes must have been fsynced after its
// last write, and the directory after its last rename. Empty when the order is right.
std::string order_fault(const std::vector<Step>& steps) {
  std::vector<std::string> unsynced, unsynced_directories;
  for (const Step& s : steps) {
    if (s.what == "open" || s.what == "write") unsynced.push_back(s.path);
    if (s.what == "fsync") std::erase(unsynced, s.path);
    if (s.what == "fsync directory") std::erase(unsynced_directories, s.path);
    if (s.what != "rename") continue;
    for (const std::string& path : unsynced)
      if (path == s.path || path.rfind(s.path + "/", 0) == 0) return "renamed before fsync: " + path;
    unsynced_directories.push_back(parent_directory(s.path));
  }
  return unsynced_directories.empty() ? "" : "directory not fsynced after rename: " + unsynced_directories[0];
}

}  // namespace

TEST_CASE("a file is mapped and read whole; empty, missing and directory are told apart") {
  const ScratchDirectory dir;
  write_durably(dir / "a", new_content);
  write_durably(dir / "empty", "");
  CHECK(MappedFile::open(dir / "a")->text() == new_content);
  CHECK(read_file(dir / "a") == new_content);
  CHECK(MappedFile::open(dir / "empty")->size() == 0);
  CHECK(read_file(dir / "empty").empty());
  CHECK(contains(read_file("/proc/self/status"), "Name:"));
  for (const std::string& path : {dir / "none", dir.path()}) {
    const auto [mapped_exit, mapped] = error_of([&] { MappedFile::open(path); });
    const auto [exit, text] = error_of([&] { read_file(path); });
    CHECK(mapped_exit == Exit::wrong_input);
    CHECK(exit == Exit::wrong_input);
    CHECK(contains(mapped, path));
    CHECK(contains(text, path));
  }
}

TEST_CASE("a path with a zero byte opens nothing") {
  const ScratchDirectory dir;
  write_durably(dir / "a", "x");
  const std::string path = (dir / "a") + std::string("\0.jpg", 5);
  for (const std::function<void()>& open : std::vector<std::function<void()>>{
           [&] { MappedFile::open(path); }, [&] { read_file(path); }, [&] { list_directory(path); },
           [&] { write_durably(path, "y"); }, [&] { AppendFile(path, 0); }, [&] { make_directories(path); },
           [&] { path_exists(path); }}) {
    const auto [exit, text] = error_of(open);
    CHECK(exit == Exit::wrong_input);
    CHECK(contains(text, "a\\x00.jpg: a path cannot hold a zero byte"));
  }
  CHECK(read_file(dir / "a") == "x");
}

TEST_CASE("a pipe without a name is read to its end; a pipe with a name and a device are refused at once") {
  const ScratchDirectory dir;
  const std::string content(50000, 'p');
  for (const bool mapped : {true, false}) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    REQUIRE(::write(ends[1], content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    ::close(ends[1]);
    const std::string path = cat("/dev/fd/", ends[0]);
    CHECK((mapped ? std::string(MappedFile::open(path)->text()) : read_file(path)) == content);
    ::close(ends[0]);
  }
  REQUIRE(::mkfifo((dir / "fifo").c_str(), 0666) == 0);
  for (const std::string& path : {dir / "fifo", std::string("/dev/zero"), std::string("/dev/null")}) {
    const auto [mapped_exit, mapped] = error_of([&] { MappedFile::open(path); });
    const auto [exit, text] = error_of([&] { read_file(path); });
    CHECK(mapped_exit == Exit::wrong_input);
    CHECK(exit == Exit::wrong_input);
    CHECK(contains(text, path + ": is a "));
    CHECK(contains(mapped, "expected a file"));
  }
  CHECK(contains(std::string(MappedFile::open("/proc/self/status")->text()), "Name:"));
}

TEST_CASE("a read error is the machine's: exit 3") {
  CHECK(error_of([&] { read_file("/proc/self/mem"); }) ==
        std::pair(Exit::machine_failed, std::string("/proc/self/mem: cannot read: Input/output error")));
}

TEST_CASE("a mapped file that is cut while it is read ends the process with a line that names it, exit 3") {
  const ScratchDirectory dir;
  for (const char* name : {"other.bin", "cut.bin"}) write_durably(dir / name, std::string(100000, 'x'));
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    const auto other = MappedFile::open(dir / "other.bin");
    { const auto closed = MappedFile::open(dir / "other.bin"); }
    const auto file = MappedFile::open(dir / "cut.bin");
    int sum = other->text()[9999];
    if (::truncate((dir / "cut.bin").c_str(), 0) == 0)
      for (const char c : file->text()) sum += c;
    ::_exit(sum == 0 ? 100 : 101);
  }
  ::close(ends[1]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
  char line[1000] = {};
  CHECK(::read(ends[0], line, sizeof line - 1) > 0);
  ::close(ends[0]);
  CHECK(contains(line, "onevision: " + (dir / "cut.bin") + ": was cut short"));
}

TEST_CASE("a small file is read and a large one is mapped: both have their bytes to the last") {
  const ScratchDirectory dir;
  for (const std::size_t size : {1u, 4096u, 65536u, 65537u, 200000u}) {
    CAPTURE(size);
    const std::string path = dir / cat("file-", size);
    write_durably(path, std::string(size - 1, 'x') + "y");
    const auto file = MappedFile::open(path);
    CHECK(file->size() == size);
    CHECK(file->text().ends_with('y'));
    CHECK(contains(read_file("/proc/self/maps"), path) == (size > 65536));
  }
}

TEST_CASE("a mapped file keeps its old content when the name is replaced") {
  const ScratchDirectory dir;
  write_durably(dir / "a", old_content);
  const auto file = MappedFile::open(dir / "a");
  write_durably(dir / "a", new_content);
  CHECK(file->text() == old_content);
  CHECK(read_file(dir / "a") == new_content);
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"a"});
}

TEST_CASE("a writer that is not committed changes nothing and leaves nothing") {
  const ScratchDirectory dir;
  write_durably(dir / "a", old_content);
  { DurableWriter(dir / "a").write(new_content); }
  CHECK(read_file(dir / "a") == old_content);
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"a"});
}

TEST_CASE("a durable write through a symbolic link replaces the file it names, not the link") {
  const ScratchDirectory dir;
  write_durably(dir / "target", old_content);
  std::filesystem::create_symlink("target", dir / "link");
  write_durably(dir / "link", new_content);
  CHECK(std::filesystem::is_symlink(dir / "link"));
  CHECK(read_file(dir / "target") == new_content);
}

TEST_CASE("a full disk is one line with the path and the reason, and /dev/full is still a device") {
  const auto [exit, text] = error_of([] { write_durably("/dev/full", new_content); });
  CHECK(exit == Exit::machine_failed);
  CHECK(text == "/dev/full: cannot write: No space left on device");
  struct stat s;
  REQUIRE(::stat("/dev/full", &s) == 0);
  CHECK(S_ISCHR(s.st_mode));
  const auto [append_exit, append_text] = error_of([] { AppendFile("/dev/full", 0).append("line\n"); });
  CHECK(append_exit == Exit::machine_failed);
  CHECK(contains(append_text, "No space left"));
}

TEST_CASE("past RLIMIT_FSIZE the save fails, the process lives, the old file stands, the temporary is gone") {
  const ScratchDirectory dir;
  write_durably(dir / "a", old_content);
  AppendFile log(dir / "log", 0);
  log.append("whole line\n");
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 4000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto [exit, text] = error_of([&] { write_durably(dir / "a", new_content); });
  const auto [log_exit, log_text] = error_of([&] { log.append(new_content); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  CHECK(exit == Exit::machine_failed);
  CHECK(text == dir / "a" + ": cannot write: File too large");
  CHECK(read_file(dir / "a") == old_content);
  CHECK(log_exit == Exit::machine_failed);
  CHECK(read_file(dir / "log") == "whole line\n");
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"a", "log"});
}

TEST_CASE("a directory that must not be written into fails with the reason; a missing one is wrong input") {
  const ScratchDirectory dir;
  REQUIRE(::chmod(dir.path().c_str(), 0555) == 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {  // root may write anywhere, nobody may not
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    const auto [exit, text] = error_of([&] { write_durably(dir / "a", new_content); });
    ::_exit(exit == Exit::machine_failed && text == dir / "a" + ": cannot open for writing: Permission denied" ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  ::chmod(dir.path().c_str(), 0755);
  CHECK(error_of([&] { write_durably(dir / "none/a", ""); }).first == Exit::wrong_input);
  CHECK(error_of([&] { write_durably(dir.path(), ""); }).first == Exit::wrong_input);
}

TEST_CASE("a durable write killed before and after every step leaves the old content or the new") {
  int kills = 0;
  CHECK(mixtures_after_kills(save_in_pieces, &kills) == 0);
  CHECK(kills == 2 * 6);  // open, two writes, fsync, rename, fsync of the directory
}

TEST_CASE("twin: overwriting in place is caught by the same kills") {
  int kills = 0;
  CHECK(mixtures_after_kills(overwrite_in_place, &kills) > 0);
  CHECK(kills > 0);
}

TEST_CASE("nothing is renamed before its fsync, and the directory is fsynced after") {
  const ScratchDirectory dir;
  CHECK(order_fault(steps_of([&] { save_in_pieces(dir / "a"); })) == "");
  CHECK(order_fault(steps_of([&] {
          DurableDirectory save(dir / "save", "test");
          AppendFile(save.file("plain"), 0).append(new_content);
          write_durably(save.file("durable"), new_content);
          save.commit();
        })) == "");

  // Twins: each omission is found.
  auto steps = steps_of([&] { save_in_pieces(dir / "a"); });
  const auto without = [&](const std::string& what) {
    auto fewer = steps;
    std::erase_if(fewer, [&](const Step& s) { return s.what == what; });
    return order_fault(fewer);
  };
  CHECK(contains(without("fsync"), "renamed before fsync"));
  CHECK(contains(without("fsync directory"), "directory not fsynced"));
}

TEST_CASE("an appended file goes on where it is told and cuts the rest") {
  const ScratchDirectory dir;
  write_durably(dir / "log", "one\ntwo\nthr");
  AppendFile log(dir / "log", 8);
  log.append("three\n");
  CHECK(log.size() == 14);
  CHECK(read_file(dir / "log") == "one\ntwo\nthree\n");
  const auto [exit, text] = error_of([&] { AppendFile(dir / "log", 99); });
  CHECK(exit == Exit::wrong_input);
  CHECK(contains(text, "ends at byte 14"));
}
