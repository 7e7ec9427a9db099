#include "train/schedule.h"

#include <numbers>

#include "base/cosine.h"

namespace ov {

double Schedule::rate(std::int64_t step) const {
  const auto n = static_cast<double>(step + first_step), D = static_cast<double>(steps), W = warmup * D;
  if (n <= W && W > 0) return peak * n / W;
  if (decay == "constant") return peak;
  if (n > D) return min;
  return min + 0.5 * (peak - min) * (1 + cosine(std::numbers::pi * (n - W) / (D - W)));
}

}  // namespace ov
