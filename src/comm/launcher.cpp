#include "comm/launcher.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "comm/rank_in_job.h"
#include "comm/tcp.h"

namespace ov {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto grace = std::chrono::seconds(3);  // for ranks that have learnt that another failed
constexpr const char* lost = "lost ";

// To who launched this rank, if somebody did.
bool hand_over(const std::string& line) {
  const char* pipe = variable_of_process(errors_variable);
  return pipe && ::write(std::atoi(pipe), line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

class Launch {
 public:
  Launch(const Launched& launched, const std::vector<std::string>& arguments) : launched_(launched) {
    if (launched.machines > 1) address_ = host_port(launched.address, "launch.address");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) machine_error("launch: no pipe: ", std::strerror(errno));
    errors_ = Descriptor(ends[0]);
    const Descriptor write_end(ends[1]);
    // Of children whose SIGCHLD is ignored, as who started this process may have it, nobody learns how they ended.
    struct sigaction usual = {}, now = {};
    usual.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &usual, &children_signal_);
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGCHLD);
    for (const int s : {SIGINT, SIGTERM, SIGHUP})  // what is ignored, as SIGHUP under nohup, stays so; blocked it comes
      if (::sigaction(s, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) sigaddset(&signals_, s);
    ::sigprocmask(SIG_BLOCK, &signals_, &before_);
    const std::string job = cat("launch/", ::getpid(), "/", Clock::now().time_since_epoch().count());
    std::vector<char*> argv = {const_cast<char*>("onevision")};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    const pid_t self = ::getpid();
    for (int i = 0; i < launched.ranks; ++i) {
      const pid_t child = ::fork();
      if (child < 0) {
        end_all();
        machine_error("launch: rank ", rank_of(i), " cannot be started: ", std::strerror(errno));
      }
      if (child == 0) become(i, job, write_end.get(), self, argv.data());
      children_.push_back(child);
    }
  }
  ~Launch() {
    end_all();
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    ::sigaction(SIGCHLD, &children_signal_, nullptr);
  }
  Launch(const Launch&) = delete;

  void wait() {
    while (living() > 0) {
      timespec slice{1, 0};
      siginfo_t info{};
      const int signal = ::sigtimedwait(&signals_, &info, &slice);
      if (signal > 0 && signal != SIGCHLD) to_all(signal);
      reap(), listen();
      const Failure* f = first(false);
      if (f && !ended_ && Clock::now() > f->when + grace) ended_ = true, to_all(SIGKILL);
    }
    listen();
    const Failure *failed = first(false), *killed = first(true);
    if (!failed) return;
    const auto [code, text] = first_error(*failed, killed);
    if (killed)
      throw Error(static_cast<Exit>(128 + killed->signal),
                  cat("rank ", killed->rank, " was killed by signal ", killed->signal, " (",
                      ::strsignal(killed->signal), ")", text.empty() ? "" : ": ", text));
    throw Error(static_cast<Exit>(code), text);
  }

 private:
  // A process group of its own: a terminal's Ctrl-C comes to the launcher, which hands it on once.
  [[noreturn]] void become(int i, const std::string& job, int errors, pid_t parent, char** argv) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(3);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    const auto set = [](const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); };
    const int pipe = ::dup(errors);  // not closed by exec
    set("RANK", std::to_string(rank_of(i))), set("LOCAL_RANK", std::to_string(i));
    set("WORLD_SIZE", std::to_string(launched_.machines * launched_.ranks));
    set("LOCAL_WORLD_SIZE", std::to_string(launched_.ranks));
    set("GROUP_RANK", std::to_string(launched_.machine));
    for (const char* name : {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"}) ::unsetenv(name);
    if (launched_.machines > 1) set("MASTER_ADDR", address_.host), set("MASTER_PORT", address_.port);
    set(job_variable, job), set(errors_variable, std::to_string(pipe));
    ::execv("/proc/self/exe", argv);
    ::_exit(3);
  }

  int rank_of(int i) const { return launched_.machine * launched_.ranks + i; }
  int living() const {
    int n = 0;
    for (const pid_t c : children_) n += c > 0;
    return n;
  }
  void to_all(int signal) const {
    for (const pid_t c : children_)
      if (c > 0) ::kill(c, signal);
  }
  void end_all() {
    to_all(SIGKILL);
    for (pid_t& c : children_)
      if (c > 0) ::waitpid(std::exchange(c, 0), nullptr, 0);
  }
  void reap() {
    for (std::size_t r = 0; r < children_.size(); ++r) {
      int status = 0;
      if (children_[r] <= 0 || ::waitpid(children_[r], &status, WNOHANG) != children_[r]) continue;
      children_[r] = 0;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      if (WIFSIGNALED(status) && ended_) continue;  // by this process
      failures_.push_back({rank_of(static_cast<int>(r)), WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                           WIFSIGNALED(status) ? WTERMSIG(status) : 0, Clock::now()});
    }
  }
  // What ranks say: "<exit code> <text>\n" of an error, "lost <rank>\n" of one that they go on without.
  void listen() {
    char buffer[4096];
    for (ssize_t n; (n = ::read(errors_.get(), buffer, sizeof buffer)) > 0;)
      said_.append(buffer, static_cast<std::size_t>(n));
    for (std::size_t end; (end = said_.find('\n')) != said_.npos; said_.erase(0, end + 1)) {
      const std::string line = said_.substr(0, end);
      if (line.starts_with(lost)) lost_.insert(std::atoi(line.c_str() + std::strlen(lost)));
      else if (error_.empty()) error_ = line;
    }
  }
  struct Failure {
    int rank, exit, signal;  // signal: of one that was killed, else 0
    Clock::time_point when;
  };
  // The first that counts; null: none.
  const Failure* first(bool killed) const {
    for (const Failure& f : failures_)
      if ((!killed || f.signal) && !lost_.count(f.rank)) return &f;
    return nullptr;
  }
  // Of the first rank that said something.
  std::pair<int, std::string> first_error(const Failure& failed, const Failure* killed) const {
    const auto blank = error_.find(' ');
    if (blank != error_.npos) return {std::atoi(error_.c_str()), error_.substr(blank + 1)};
    return {failed.exit, killed ? "" : cat("rank ", failed.rank, " ended with exit code ", failed.exit)};
  }

  const Launched launched_;
  HostPort address_;
  std::vector<pid_t> children_;  // by rank here; 0: ended
  Descriptor errors_;
  sigset_t signals_, before_;
  struct sigaction children_signal_ = {};  // as it was before
  bool ended_ = false;                     // the launcher kills what is left
  std::vector<Failure> failures_;          // in order
  std::string said_, error_;               // what is not a whole line yet; the first error
  std::set<int> lost_;                     // ranks that the others go on without
};

}  // namespace

void launch_ranks(const Launched& job, const std::vector<std::string>& arguments) { Launch(job, arguments).wait(); }

bool is_launched() { return variable_of_process(errors_variable); }

bool hand_over_error(Exit exit, const std::string& text) {
  return hand_over(cat(static_cast<int>(exit), " ", text, "\n"));
}
bool hand_over_loss(int rank) { return hand_over(cat(lost, rank, "\n")); }

}  // namespace ov
