// Calls that a rank makes beside its other work: gradients are summed while the backward pass goes on
// (parallel/overlap.h).
//
//   shared memory   channels of their own, for one more thread. The order of its calls is apart from that of all others
//   a device        the thread that queues the kernels makes them, in the device's stream of calls: kernels that it
//                   queues later wait for them at join() alone. They have a place among all other calls of the rank,
//                   which is the same on all ranks
#pragma once
#include <functional>

#include "comm/communicator.h"

namespace ov {

class Beside {
 public:
  virtual ~Beside() = default;
  virtual Communicator& communicator() = 0;  // the same ranks, through which run()'s calls are made
  virtual bool threaded() const = 0;         // as shared memory; else as a device
  virtual void run(const std::function<void()>& calls) { calls(); }
  virtual void join() {}
  virtual void give_up() {}  // the call under way and all later ones end with an error; for another thread
};

}  // namespace ov
