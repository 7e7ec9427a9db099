// Ranks as children of a test: each is a process of its own, as in a real run.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "comm/process_ranks.h"
#include "tests/check.h"

namespace ov::test {

struct Ended {
  int exit = -1;      // the exit code, or minus the signal
  std::string error;  // of this rank; empty when another failed first
};

inline void all_well(const std::vector<Ended>& ended) {
  for (const Ended& e : ended) CHECK_MESSAGE(e.exit == 0, e.error);
}

// In a rank, where a CHECK is not heard.
inline void require(bool holds, const std::string& what) {
  if (!holds) input_error("not so: ", what);
}

inline std::string fresh_job() {
  static std::atomic<int> jobs{0};
  return cat("test/", ::getpid(), "/", jobs++);
}

// Each of `places` in a process of its own. `started`, if given, is called with their ids while they run.
inline std::vector<Ended> in_places(const std::vector<RankInJob>& places, double timeout,
                                    const std::function<void(ProcessRanks&)>& f,
                                    const std::function<void(const std::vector<pid_t>&)>& started = {}) {
  const Threads one(1);  // a child has no other threads of its parent's; it must not believe that it has
  std::fflush(nullptr);  // or the children write it once more
  std::vector<pid_t> children;
  std::vector<int> pipes;
  for (const RankInJob& place : places) {
    int ends[2];
    if (::pipe(ends) != 0) std::abort();
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
      int code = 0;
      std::string error;
      try {
        ProcessRanks ranks(place, timeout);
        try {
          f(ranks);
          ranks.leave();
        } catch (const PeerFailed& e) {
          code = static_cast<int>(e.exit());
          if (ranks.speaks()) error = e.what();
        } catch (const Error& e) {
          code = static_cast<int>(e.exit());
          if (ranks.failed(e.exit(), e.what())) error = e.what();
        }
      } catch (const Error& e) { code = static_cast<int>(e.exit()), error = e.what(); } catch (...) {
        code = 99;
      }
      [[maybe_unused]] const auto written = ::write(ends[1], error.data(), error.size());
      ::_exit(code);
    }
    ::close(ends[1]);
    children.push_back(child), pipes.push_back(ends[0]);
  }
  if (started) started(children);
  std::vector<Ended> ended;
  for (std::size_t rank = 0; rank < children.size(); ++rank) {
    Ended e;
    char text[4096];
    for (ssize_t got; (got = ::read(pipes[rank], text, sizeof text)) > 0;)
      e.error.append(text, static_cast<std::size_t>(got));
    ::close(pipes[rank]);
    int status = 0;
    ::waitpid(children[rank], &status, 0);
    e.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    ended.push_back(e);
  }
  return ended;
}

// `f` in n processes of one machine.
inline std::vector<Ended> in_ranks(int n, double timeout, const std::function<void(ProcessRanks&)>& f,
                                   const std::function<void(const std::vector<pid_t>&)>& started = {}) {
  const std::string job = fresh_job();
  std::vector<RankInJob> places;
  for (int rank = 0; rank < n; ++rank) places.push_back({rank, n, job, "a test", {}});
  return in_places(places, timeout, f, started);
}

}  // namespace ov::test
