// Every kernel has a CUDA twin, and every op of the registry gives the CPU's bits through them: forward and backward,
// in f32 and bf16, with each of its sizes in turn at an edge, threads and blocks run forward, in reverse and in a drawn
// order, on a device whose memory the host cannot touch. In reverse order nothing lies behind any allocation: a kernel
// that reads past the end ends the test with a line that names the place.
#include <doctest/doctest.h>

#include "kernels/cuda/launchers.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"
#include "tests/kernels/edge_example.h"

using namespace ov;
using namespace ov::test;

namespace {

// Around a packet of 4 and 8, around the 16 lanes of a sum and the 32 of a warp, and around a block.
const std::int64_t edges[] = {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 257};
constexpr sim::Schedule schedules[] = {{sim::Order::forward, 0}, {sim::Order::reverse, 0}, {sim::Order::random, 1}};

}  // namespace

TEST_CASE("every kernel of the table has a CUDA twin") {
#define OV_TWIN(name, Args) CHECK_MESSAGE(bool(kernels::simulated::launchers().name), #name " has no CUDA twin");
  OV_KERNELS(OV_TWIN)
#undef OV_TWIN
}

TEST_CASE(
    "every op of the registry has the CPU's bits on the simulated GPU, in f32 and bf16, in every order (G-20, G-22)") {
  SimDevice packed, fenced(ForeignDevice::Policy::eager, 0, std::size_t{1} << 32, ForeignDevice::Layout::fenced);
  for (const OpRow* op : rows()) {
    const int sizes = run(op->example, Dtype::f32, cpu(), -1, 0).sizes;
    for (int which = std::min(0, sizes - 1); which < sizes; ++which)
      for (const std::int64_t edge : edges) {
        if (which < 0 && edge > 1) break;  // an op without a size has one case
        for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
          const Run expected = run(op->example, dtype, cpu(), which, edge, ov::test::Values::whole);
          for (const sim::Schedule& schedule : schedules) {
            const sim::ScheduleScope scope(schedule);
            const std::string at = cat(op->name, " ", name_of(dtype), ", size number ", which, " at ", edge, ", order ",
                                       static_cast<int>(schedule.order));
            Device& device = schedule.order == sim::Order::reverse ? fenced : packed;
            const bool same =
                run(op->example, dtype, device, which, edge, ov::test::Values::whole).tensors == expected.tensors;
            CHECK_MESSAGE(same, at);
          }
        }
      }
  }
}
