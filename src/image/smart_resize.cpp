#include "image/smart_resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace ov {

ImageSize smart_resize(ImageSize size, std::int64_t factor, std::int64_t min_pixels, std::int64_t max_pixels,
                       SmartResizeRule rule) {
  const std::int64_t width = size.width, height = size.height;
  if (width < 1 || height < 1)
    input_error("smart_resize: a picture of ", width, " x ", height, " pixels; each side must be at least 1");
  // The quotient is a double in the original: 200 passes, anything above fails.
  if (static_cast<double>(std::max(width, height)) / static_cast<double>(std::min(width, height)) > 200)
    input_error("smart_resize: ", width, " x ", height,
                " pixels: the longer side is more than 200 times the shorter one");

  const auto f = static_cast<double>(factor);
  const double area = static_cast<double>(width) * static_cast<double>(height);
  const bool hf = rule == SmartResizeRule::hf;
  // The order of operations is the original's: each step rounds to a double.
  const auto both = [&](auto side) {
    return ImageSize{side(static_cast<double>(width)), side(static_cast<double>(height))};
  };
  const auto multiple = [&](double n, bool at_least_one) {
    const std::int64_t v = static_cast<std::int64_t>(n) * factor;
    return at_least_one ? std::max(factor, v) : v;
  };

  ImageSize out = both([&](double side) { return multiple(std::nearbyint(side / f), !hf); });
  if (out.width * out.height > max_pixels) {
    const double beta = std::sqrt(area / static_cast<double>(max_pixels));
    out = both([&](double side) { return multiple(std::floor(side / beta / f), hf); });
  } else if (out.width * out.height < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / area);
    out = both([&](double side) { return multiple(std::ceil(side * beta / f), false); });
  }
  if (out.width < 1 || out.height < 1)
    input_error("smart_resize: ", width, " x ", height, " pixels become ", out.width, " x ", out.height, " at ",
                min_pixels, "..", max_pixels, " pixels");
  return out;
}

}  // namespace ov
