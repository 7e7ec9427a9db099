// SIGINT and SIGTERM as a wish: while one of these lives, the first of them is noted, so that work can end where it may
// be continued; the second ends the process at once, as if nobody listened.
#pragma once
#include <csignal>

#include "base/error.h"

namespace ov {

// What a process that stopped at the signal's wish ends with: 130 for SIGINT, 143 for SIGTERM, as shells have it.
inline Exit stopped_by(int signal) { return static_cast<Exit>(128 + signal); }

class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;

  static int asked();  // the signal that came, 0 when none did

 private:
  struct sigaction interrupt_, terminate_;  // what stood before
};

}  // namespace ov
