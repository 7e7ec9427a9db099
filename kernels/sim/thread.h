// One thread of a block as the scheduler sees it, and what it waits for; the lanes of a warp.
#pragma once
#include <memory>
#include <sstream>
#include <string>

#include "base/error.h"
#include "kernels/sim/fiber.h"
#include "kernels/sim/mbarrier.h"
#include "kernels/sim/scheduler.h"

namespace ov::sim {

enum class State { runnable, at_barrier, in_collective, at_mbarrier, returned };

struct Thread {
  Index3 index;
  State state = State::runnable;
  const char* place = "";        // file of the wait, or name of the collective
  int line = 0;                  // of the wait
  unsigned mask = 0;             // of the collective
  void* arguments = nullptr;     // of the collective
  Combine combine = nullptr;     // of the collective
  const void* object = nullptr;  // the mbarrier
  std::unique_ptr<Fiber> fiber;  // while started and not returned

  bool waits_like(const Thread& t) const {
    return state == t.state && place == t.place && line == t.line && mask == t.mask && object == t.object;
  }
  void wait(State at, const char* file, int its_line, unsigned its_mask = 0, const void* its_object = nullptr) {
    state = at, place = file, line = its_line, mask = its_mask, object = its_object;
  }
  std::string waits_at() const {
    if (state == State::at_barrier) return cat("__syncthreads at ", place, ":", line);
    if (state == State::in_collective) return cat(place, " with mask 0x", hex(mask));
    if (state == State::at_mbarrier) return cat("mbarrier.test_wait at ", place, ":", line, " for ", text_of(object));
    return state == State::runnable ? "nothing" : "its end";
  }
  static std::string hex(unsigned v) {
    std::ostringstream s;
    s << std::hex << v;
    return s.str();
  }
};

// Bit i is lane i. Lanes beyond the end of the block count as returned.
struct Warp {
  unsigned in_collective = 0, returned = 0;
};

}  // namespace ov::sim
