// Time that only goes on: for spans and deadlines, not for dates.
#pragma once
#include <chrono>
#include <utility>

namespace ov {

// Seconds since some moment of this machine, the same one for all of its processes.
inline double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// How long somebody has waited, of the time in which this process ran: one that stood still (SIGSTOP, with which Slurm
// suspends a job) waited for nobody meanwhile. Whoever waits asks every second.
class Waited {
 public:
  static constexpr double between = 1;  // seconds between two questions
  void again() { since_ = asked_ = monotonic_seconds(); }
  double seconds() {
    const double now = monotonic_seconds(), gap = now - std::exchange(asked_, now);
    if (gap > 2 * between) since_ += gap;
    return now - since_;
  }

 private:
  double since_ = monotonic_seconds(), asked_ = since_;
};

}  // namespace ov
