// The built program as a process: the file `onevision` beside the running test binary.
#pragma once
#include <fcntl.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/io/file.h"
#include "tests/base/scratch.h"

namespace ov {

inline std::string program_path() {
  char self[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  if (n <= 0) throw std::runtime_error("/proc/self/exe cannot be read");
  const std::string path =
      std::filesystem::path(std::string(self, static_cast<std::size_t>(n))).parent_path() / "onevision";
  if (::access(path.c_str(), X_OK) != 0) throw std::runtime_error(path + ": the program is not built");
  return path;
}

struct Outcome {
  int exit = -1;  // -1: ended by a signal
  std::string out, err;
};

// `before`, if given, runs in the child: limits. stdout goes to `stdout_path` instead of being collected when that is
// not empty.
inline Outcome run(const std::vector<std::string>& arguments, void (*before)() = nullptr,
                   const std::string& stdout_path = "") {
  const ScratchDirectory dir;
  const std::string program = program_path(), out = stdout_path.empty() ? dir / "out" : stdout_path, err = dir / "err";
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    const int flags = O_WRONLY | O_CREAT;
    if (::dup2(::open(out.c_str(), flags, 0600), 1) < 0 || ::dup2(::open(err.c_str(), flags, 0600), 2) < 0)
      ::_exit(126);
    if (before) before();
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error("waitpid failed");
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, stdout_path.empty() ? read_file(out) : "", read_file(err)};
}

inline bool one_line(const std::string& text) { return !text.empty() && text.find('\n') == text.size() - 1; }

// What /proc holds; as much as could be read of a process that ends meanwhile: a stream does not throw.
inline std::string of_process(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// Kills the process of that rank whose command line holds `word`; false when there is none.
inline bool kill_rank(const std::string& word, int rank, int signal = SIGKILL) {
  const std::string mark = std::string(1, '\0') + "RANK=" + std::to_string(rank) + std::string(1, '\0');
  bool hit = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string id = entry.path().filename();
    if (id.find_first_not_of("0123456789") != id.npos) continue;
    const std::string said = of_process(entry.path() / "cmdline"), set = of_process(entry.path() / "environ");
    const bool launcher = said.find(std::string(1, '\0') + "launch" + std::string(1, '\0')) != said.npos;
    if (said.find(word) != said.npos && (rank < 0 ? launcher : !launcher && set.find(mark) != set.npos))
      hit = ::kill(std::stoi(id), signal) == 0 || hit;
  }
  return hit;
}

}  // namespace ov
