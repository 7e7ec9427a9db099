// Seconds by operation of what a tape ran: forward from the end of the operation before it, so that what the model does
// in between (tables, shapes, the tape's own work) counts with the operation that follows; backward the operation
// alone.
#pragma once
#include <array>
#include <chrono>

#include "autograd/registry.h"

namespace ov {

class OpTimes {
 public:
  using Seconds = std::array<double, static_cast<std::size_t>(Op::count)>;

  void start() { last_ = Clock::now(); }
  // The time since start() or the last lap belongs to this pass of `op`.
  void lap(Op op, const Cost& cost, Pass pass) {
    const auto t = Clock::now();
    seconds[static_cast<std::size_t>(op)] += std::chrono::duration<double>(t - last_).count();
    last_ = t;
    done.push_back({op, pass, cost});
  }

  Seconds seconds{};
  struct Done {
    Op op;
    Pass pass;
    Cost cost;
  };
  std::vector<Done> done;  // in order: what the floor is computed from (train/floor.h)

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

}  // namespace ov
