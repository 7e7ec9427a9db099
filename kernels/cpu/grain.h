// How many rows of C elements are worth handing to another thread together.
#pragma once
#include <algorithm>
#include <cstdint>

namespace ov::kernels::cpu {

inline std::int64_t grain(std::int64_t elements_a_row) {
  return std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, elements_a_row));
}

}  // namespace ov::kernels::cpu
