// What the simulator says of a launch that it refuses or stops.
#pragma once
#include <string>
#include <utility>

#include "kernels/cuda/language.h"

namespace ov::sim {

// Of launch(a...); "" when it goes through.
template <class... A>
std::string fault_of(A&&... a) {
  try {
    launch(std::forward<A>(a)...);
  } catch (const KernelFault& e) { return e.what(); }
  return "";
}

}  // namespace ov::sim
