// A Python script as a child process: a line in, its work, the milliseconds out.
#pragma once
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "tests/bench/bench.h"

namespace ov::bench {

class Peer {
 public:
  // `step`: which of the script's steps; `steps`: how many of them a line runs; `flag`: one more argument, or empty.
  Peer(const std::string& python, const std::string& script, const std::string& step, int threads, int steps,
       const std::string& flag = "")
      : threads(threads), script_(script) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) std::abort();
    const std::string t = std::to_string(threads), n = std::to_string(steps);
    child_ = fork();
    if (child_ == 0) {
      dup2(in[0], 0), dup2(out[1], 1);
      execlp(python.c_str(), python.c_str(), script.c_str(), "--serve", "--step", step.c_str(), "-t", t.c_str(), "-n",
             n.c_str(), flag.empty() ? nullptr : flag.c_str(), nullptr);
      _exit(127);
    }
    close(in[0]), close(out[1]);
    to_ = fdopen(in[1], "w"), from_ = fdopen(out[0], "r");
    const std::string line = read_line();
    if (!line.empty()) facts = Json::parse(line, script);
  }
  Peer(const Peer&) = delete;
  ~Peer() {
    std::fclose(to_), std::fclose(from_);
    waitpid(child_, nullptr, 0);
  }

  // `given`: what the script works on, if it wants to be told.
  double seconds(const std::string& given = "") {
    std::fputs((given + "\n").c_str(), to_);
    std::fflush(to_);
    const std::string line = read_line();
    if (line.empty()) {
      std::fprintf(stderr, "bench: %s ended\n", script_.c_str());
      std::exit(3);
    }
    char* rest = nullptr;
    const double milliseconds = std::strtod(line.c_str(), &rest);
    processor_seconds = std::strtod(rest, nullptr) * 1e-3;
    return milliseconds * 1e-3;
  }

  int threads;
  double processor_seconds = 0;  // of the last line, where it has a second number: those of all the child's threads
  Json facts;                    // the script's first line; null when it did not start

 private:
  std::string read_line() {
    char* text = nullptr;
    std::size_t room = 0;
    const ssize_t n = getline(&text, &room, from_);
    std::string line(text && n > 0 ? text : "");
    std::free(text);
    return line;
  }
  const std::string script_;
  pid_t child_;
  FILE *to_, *from_;
};

// One peer for each number of threads; none, with a line that says so, where Python or PyTorch are missing.
inline std::vector<std::unique_ptr<Peer>> torch_peers(const std::string& step, int steps, int most_threads,
                                                      const std::string& flag = "") {
  std::vector<std::unique_ptr<Peer>> peers;
  for (int t = 1; !torch_python().empty() && t <= most_threads; ++t) {
    peers.push_back(std::make_unique<Peer>(torch_python(), "tests/bench/pytorch_step.py", step, t, steps, flag));
    if (peers.back()->facts.is_null()) {
      std::printf("  %s does not run tests/bench/pytorch_step.py: no peer\n", torch_python().c_str());
      return {};
    }
  }
  return peers;
}

}  // namespace ov::bench
