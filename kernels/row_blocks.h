// How sums over rows are cut, on every device alike, so that their bits are: kernels/cpu/row_sums.h has the order.
#pragma once
#include <cstdint>

namespace ov::kernels {

constexpr std::int64_t rows_in_block = 64;

}  // namespace ov::kernels
