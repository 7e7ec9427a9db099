// Seconds by operation of what a tape ran: forward from the end of the operation before it, so that what the model does
// in between (tables, shapes, the tape's own work) counts with the operation that follows; backward the operation
// alone.
#pragma once
#include <array>
#include <chrono>

#include "autograd/registry.h"
#include "tensor/device.h"

namespace ov {

class OpTimes {
 public:
  using Seconds = std::array<double, static_cast<std::size_t>(Op::count)>;

  void start() { last_ = Clock::now(); }
  // The time since start() or the last lap belongs to this pass of `op`.
  // `parameter`: one that the operation reads, or null.
  void lap(Op op, const Cost& cost, Pass pass, const Parameter* parameter = nullptr) {
    if (waits_for) waits_for->synchronize();
    const auto t = Clock::now();
    seconds[static_cast<std::size_t>(op)] += std::chrono::duration<double>(t - last_).count();
    done.push_back({op, pass, cost, parameter, nanoseconds(last_), nanoseconds(t)});
    last_ = t;
  }

  Seconds seconds{};
  struct Done {
    Op op;
    Pass pass;
    Cost cost;
    const Parameter* parameter;
    std::int64_t begin, end;  // nanoseconds of the steady clock
  };
  std::vector<Done> done;       // in order: what the floor is computed from (train/floor.h)
  Device* waits_for = nullptr;  // whose queues are empty before an operation counts as done; null: when it is queued

 private:
  using Clock = std::chrono::steady_clock;
  static std::int64_t nanoseconds(Clock::time_point t) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
  }
  Clock::time_point last_ = Clock::now();
};

}  // namespace ov
