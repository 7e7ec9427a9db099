// Work in child processes, which may be killed at a step of theirs (base/io/file.h): before it and after it.
#pragma once
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/io/file.h"

namespace ov {

// f() without what it writes to standard error: progress bars are not what a test's reader wants to see.
template <class F>
auto silently(F&& f) {
  struct Quiet {
    int kept = ::dup(2);
    Quiet() { to(::open("/dev/null", O_WRONLY)); }
    ~Quiet() { to(kept); }
    static void to(int file) {
      std::fflush(nullptr);
      ::dup2(file, 2);
      ::close(file);
    }
  } quiet;
  return f();
}

// f() in a child process. Its exit code: 0, that of the Error it throws, or 128 + the signal that ended it.
inline int in_child(const std::function<void()>& f) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 0;
    try {
      f();
    } catch (const Error& e) { code = static_cast<int>(e.exit()); } catch (...) {
      code = 1;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline int kill_countdown = 0;

// Lets this process die at its n-th step, from 0.
inline void die_at_step(int n) {
  kill_countdown = n;
  set_file_step_hook([](const char*, const std::string&, bool) {
    if (kill_countdown-- == 0) ::raise(SIGKILL);
  });
}

// Runs save() again and again in a child that dies at its 1st, 2nd, 3rd ... step, until one run gets to the end.
// prepare() before every run; check(where) after every run that was killed, where = "kill 7". Returns the number of
// kills; save() that throws or ends otherwise makes it -1.
inline int kill_at_every_step(const std::function<void()>& prepare, const std::function<void()>& save,
                              const std::function<void(const std::string& where)>& check) {
  for (int kills = 0;; ++kills) {
    prepare();
    const int code = in_child([&] {
      die_at_step(kills);
      save();
    });
    if (code == 0) return kills;
    if (code != 128 + SIGKILL) return -1;
    check("kill " + std::to_string(kills + 1));
  }
}

}  // namespace ov
