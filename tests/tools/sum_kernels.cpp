// The CPU's kernels for a program of tests that needs no model: what tensors are copied with and ranks add with. A call
// of any other says that the device has no such kernel.
#include "kernels/table.h"

namespace ov::kernels {
namespace {

const Table sum_kernels = {.copy = cpu::copy, .fill = cpu::fill, .add = cpu::add};

[[maybe_unused]] const bool registered = (ov::cpu().table = &sum_kernels, true);

}  // namespace
}  // namespace ov::kernels
