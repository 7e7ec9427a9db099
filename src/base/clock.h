// Time that only goes on: for spans and deadlines, not for dates.
#pragma once
#include <chrono>

namespace ov {

// Seconds since some moment of this machine, the same one for all of its processes.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace ov
