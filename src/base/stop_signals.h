// SIGINT, SIGTERM and SIGHUP (the terminal closes) as a wish: while one of these lives, the first of them is noted, so
// that work can end where it may be continued; the second ends the process at once, as if nobody listened. A signal
// that is ignored, as SIGHUP under nohup, stays ignored.
#pragma once
#include <array>
#include <csignal>

#include "base/error.h"

namespace ov {

// What a process that stopped at the signal's wish ends with: 129 for SIGHUP, 130 for SIGINT, 143 for SIGTERM, as
// shells have it.
inline Exit stopped_by(int signal) { return static_cast<Exit>(128 + signal); }

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;

  static int asked();  // the signal that came, or was passed on; 0 when none did
  // Another process's wish, which it learnt by a signal of its own: no second signal of this one.
  static void pass_on(int signal);
  static const char* name(int signal);

 private:
  static constexpr std::array signals = {SIGINT, SIGTERM, SIGHUP};
  std::array<struct sigaction, signals.size()> before_;
};

}  // namespace ov
