// Runs test cases in several processes at once. The cases of one file stay together and in order, so that what they
// build once is built once; files are handed out as workers come free. What a worker prints appears file by file,
// unmixed. A worker that dies fails the case it was at, and another goes on behind it.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace ov::test {

// Of a case, in memory that all workers share.
struct Outcome {
  enum State : int { waiting, running, passed, failed };
  std::atomic<int> state;
  char fault[480];  // the first one, cut where it does not fit
  void set(State s, const std::string& why = "") {
    std::snprintf(fault, sizeof fault, "%s", why.c_str());
    state = s;
  }
};

// Cases first .. last, of one file.
struct CaseRange {
  int first, last;
};

class Workers {
 public:
  // run(range): runs these cases, with begins() before each and ended() after it.
  using Run = std::function<void(CaseRange)>;

  Workers(std::vector<CaseRange> files, int cases, Run run) : files_(std::move(files)), run_(std::move(run)) {
    const std::size_t bytes = sizeof(Shared) + static_cast<std::size_t>(cases) * sizeof(Outcome);
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("the tests' outcomes: no memory");
    shared_ = new (memory) Shared{};
    for (Place& p : shared_->places) p.last = -1;  // at no case yet
    outcomes_ = reinterpret_cast<Outcome*>(shared_ + 1);
    lock_ = ::memfd_create("lock", MFD_CLOEXEC);
  }

  // Returns the number of workers that ended otherwise than by finishing, by a sanitizer's verdict for instance.
  int operator()(int jobs) {
    std::fflush(nullptr);
    apart_ = jobs > 1;
    std::vector<Worker> workers;
    for (int j = 0; j < std::min(jobs, most); ++j) workers.push_back(start({1, 0}, j));
    int odd = 0;
    while (!workers.empty()) {
      int status = 0;
      const pid_t pid = ::wait(&status);
      const auto it = std::find_if(workers.begin(), workers.end(), [&](const Worker& w) { return w.pid == pid; });
      if (it == workers.end()) continue;
      const Worker ended = *it;
      workers.erase(it);
      show(ended.output);
      if (apart_) ::close(ended.output);
      Place& place = shared_->places[ended.place];
      const std::string how = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                                  : "exit status " + std::to_string(WEXITSTATUS(status));
      int at = place.at;
      if (at > place.last) {  // between two files, or at its end: a sanitizer's verdict, for instance
        if (status == 0) continue;
        ++odd;
        std::printf("a worker of the tests ended with %s\n", how.c_str());
        continue;
      }
      if (outcomes_[at].state == Outcome::running) {
        outcomes_[at++].set(Outcome::failed, "its process ended with " + how);
      }
      workers.push_back(start({at, place.last}, ended.place));
    }
    return odd;
  }

  const Outcome& operator[](int i) const { return outcomes_[i]; }
  // For run(): the case at hand begins; it has ended so. From a child of a worker, which a test may let crash, neither
  // says anything.
  void begins() {
    if (::getpid() == pid_) outcomes_[mine_->at].state = Outcome::running;
  }
  void ended(bool passed, const std::string& fault) {
    if (::getpid() != pid_) return;
    outcomes_[mine_->at].set(passed ? Outcome::passed : Outcome::failed, fault);
    ++mine_->at;
  }

 private:
  static constexpr int most = 256;
  // Where a worker is: at this case, of a file that ends with `last`.
  struct Place {
    std::atomic<int> at, last;
  };
  struct Shared {
    std::atomic<int> next_file;
    Place places[most];
  };
  struct Worker {
    pid_t pid;
    int output, place;
  };

  Worker start(CaseRange left, int place) {
    const int output = apart_ ? ::memfd_create("output", MFD_CLOEXEC) : -1;
    const pid_t pid = ::fork();
    if (pid < 0 || (apart_ && output < 0)) throw std::runtime_error("a worker of the tests: the system gives none");
    if (pid > 0) return {pid, output, place};
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int out = ::dup(1);
    if (apart_) ::dup2(output, 1), ::dup2(output, 2);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a worker may die
    mine_ = &shared_->places[place];
    pid_ = ::getpid();
    const auto run = [&](CaseRange range) {
      mine_->at = range.first, mine_->last = range.last;
      run_(range);
      std::fflush(nullptr);
      show(output, out);
    };
    if (left.first <= left.last) run(left);
    for (int f; (f = shared_->next_file++) < static_cast<int>(files_.size());) run(files_[static_cast<std::size_t>(f)]);
    std::exit(0);
  }

  // Moves what stands in `output` to `to`, alone.
  void show(int output, int to = 1) {
    const off_t n = apart_ ? ::lseek(output, 0, SEEK_END) : 0;
    if (n <= 0) return;
    std::string text(static_cast<std::size_t>(n), '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::pread(output, text.data(), text.size(), 0))));
    struct flock whole {};
    whole.l_type = F_WRLCK;
    ::fcntl(lock_, F_SETLKW, &whole);
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t k = ::write(to, text.data() + done, text.size() - done);
      if (k <= 0) break;
      done += static_cast<std::size_t>(k);
    }
    whole.l_type = F_UNLCK;
    ::fcntl(lock_, F_SETLK, &whole);
    if (::ftruncate(output, 0) == 0) ::lseek(output, 0, SEEK_SET);
  }

  std::vector<CaseRange> files_;
  Run run_;
  Shared* shared_;
  bool apart_ = false;     // what a worker prints is kept until a file ends
  Place* mine_ = nullptr;  // in a worker
  pid_t pid_ = 0;          // of this worker
  Outcome* outcomes_;
  int lock_;
};

}  // namespace ov::test
