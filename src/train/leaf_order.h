// Which of the leaves that run side by side begins when.
#pragma once
#include <cstdint>
#include <vector>

namespace ov {

// 0 .. count - 1, in the order in which `count` leaves begin: those numbered first, first + stride, ... in `sizes`, the
// longest first, equal ones in their order. A thread takes the next one when it is free: with the short ones last, all
// end at about the same time. A leaf that `sizes` does not know has size 0. The sum of gradients has its own order.
std::vector<std::int64_t> longest_first(const std::vector<std::int64_t>& sizes, std::int64_t first, std::int64_t count,
                                        std::int64_t stride);

}  // namespace ov
