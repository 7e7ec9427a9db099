// Linked into `onevision`, it makes --device cuda a simulated GPU (kernels/sim), so that whole recipes run, are killed
// and go on where there is none. Streams run late, the other ones first; threads and blocks in reverse order.
#include "kernels/sim/scheduler.h"
#include "tests/devices/sim_device.h"

namespace {

using namespace ov;

struct Machine {
  Machine() { gpu::bring_gpu(&device); }
  test::SimDevice device{test::ForeignDevice::Policy::others_first, 1};
  sim::ScheduleScope reverse{{sim::Order::reverse}};  // of the main thread, which alone runs kernels
};
[[maybe_unused]] const Machine* const machine = new Machine;  // outlives every tensor

}  // namespace
