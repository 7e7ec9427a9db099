#include "kernels/sim/capability.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

#include "base/error.h"

namespace ov::sim {
namespace {

// Shared memory: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability", "Maximum amount of
// shared memory per thread block". Multiprocessors and L2: the data sheets of the GPUs named here.
constexpr Generation generations[] = {
    {{8, 0}, 163 << 10, 108, 40 << 20},    // A100
    {{8, 6}, 99 << 10, 84, 6 << 20},       // A40
    {{8, 9}, 99 << 10, 142, 96 << 20},     // L40
    {{9, 0}, 227 << 10, 132, 50 << 20},    // H100
    {{10, 0}, 227 << 10, 148, 126 << 20},  // B200
};

thread_local const Generation* of_thread = nullptr;

}  // namespace

std::string text(Capability c) { return cat(c.major, ".", c.minor); }

const Generation& generation_of(Capability c) {
  const auto* found =
      std::find_if(std::begin(generations), std::end(generations), [&](const auto& g) { return g.capability == c; });
  if (found == std::end(generations)) throw std::logic_error(cat("sim: no GPU of compute capability ", text(c)));
  return *found;
}

CapabilityScope::CapabilityScope(Capability c) : before_(of_thread) { of_thread = &generation_of(c); }
CapabilityScope::~CapabilityScope() { of_thread = before_; }
const Generation& CapabilityScope::current() { return of_thread ? *of_thread : generation_of({}); }

}  // namespace ov::sim
