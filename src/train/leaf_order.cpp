#include "train/leaf_order.h"

#include <algorithm>
#include <numeric>

namespace ov {

std::vector<std::int64_t> longest_first(const std::vector<std::int64_t>& sizes, std::int64_t first, std::int64_t count,
                                        std::int64_t stride) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto size = [&](std::int64_t k) {
    const auto leaf = static_cast<std::size_t>(first + k * stride);
    return leaf < sizes.size() ? sizes[leaf] : 0;
  };
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return size(a) > size(b); });
  return order;
}

}  // namespace ov
