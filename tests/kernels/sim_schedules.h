// The thread orders that every kernel test goes through: forward, reverse, and some that are drawn.
#pragma once
#include <functional>

#include "kernels/sim/scheduler.h"

namespace ov::sim {

inline void for_each_schedule(const std::function<void()>& f) {
  for (const Schedule s : {Schedule{Order::forward, 0}, Schedule{Order::reverse, 0}, Schedule{Order::random, 1},
                           Schedule{Order::random, 2}, Schedule{Order::random, 3}}) {
    const ScheduleScope scope(s);
    f();
  }
}

}  // namespace ov::sim
