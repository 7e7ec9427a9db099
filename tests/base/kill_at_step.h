// Runs a save again and again in a child process that is killed at its 1st, 2nd, 3rd ... step (base/file.h): before the
// step and after it, until one run gets to the end. After each the caller looks at what stands on the disk.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/io/file.h"

namespace ov {

inline int kill_countdown = 0;

// prepare() before every run; save() in the child; check(where) after every run that was killed, where = "kill 7".
// Returns the number of kills; save() that throws or ends otherwise makes it -1.
inline int kill_at_every_step(const std::function<void()>& prepare, const std::function<void()>& save,
                              const std::function<void(const std::string& where)>& check) {
  for (int kills = 0;; ++kills) {
    prepare();
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      kill_countdown = kills;
      set_file_step_hook([](const char*, const std::string&, bool) {
        if (kill_countdown-- == 0) ::raise(SIGKILL);
      });
      try {
        save();
      } catch (...) { ::_exit(1); }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) return WEXITSTATUS(status) == 0 ? kills : -1;
    if (WTERMSIG(status) != SIGKILL) return -1;
    check("kill " + std::to_string(kills + 1));
  }
}

}  // namespace ov
