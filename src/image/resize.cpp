#include "image/resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "image/resize_sums.h"

namespace ov {
namespace {

using resize_sums::weight_bits;

// Keys' cubic convolution kernel with a = -1/2, in Pillow's order of operations.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

void check_resize(const char* function, const Image& image, std::int64_t width, std::int64_t height) {
  if (image.width < 1 || image.height < 1) input_error(function, ": the source picture has no pixels");
  if (width < 1 || height < 1)
    input_error(function, ": target of ", width, " x ", height, " pixels; each side must be at least 1");
}

Image resize_rows(const Image& image, std::int64_t width, PassOrder order) {
  const std::vector<Taps> taps = bicubic_taps(image.width, width, order);
  Image out(width, image.height);
  const auto from_bytes = static_cast<std::size_t>(3 * image.width), to_bytes = static_cast<std::size_t>(3 * width);
#if OV_RESIZE_AVX2
  std::vector<std::vector<std::int16_t>> fours;
  for (const Taps& t : taps) fours.push_back(resize_sums::in_fours(t.weights));
  parallel_ranges(image.height, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> from(from_bytes + 16), to(to_bytes + 1);  // whole vectors, also at a row's end
    for (std::int64_t y = begin; y < end; ++y) {
      std::copy_n(image.row(y), from_bytes, from.data());
      for (std::size_t x = 0; x < taps.size(); ++x)
        resize_sums::pixel_avx2(from.data() + 3 * taps[x].first, fours[x], to.data() + 3 * x);
      std::copy_n(to.data(), to_bytes, out.row(y));
    }
  });
#else
  parallel_for(image.height, 16, [&](std::int64_t y) {
    for (std::size_t x = 0; x < taps.size(); ++x)
      resize_sums::pixel_portable(image.row(y) + 3 * taps[x].first, taps[x].weights, out.row(y) + 3 * x);
  });
#endif
  return out;
}

Image resize_columns(const Image& image, std::int64_t height, PassOrder order) {
  const std::vector<Taps> taps = bicubic_taps(image.height, height, order);
  Image out(image.width, height);
  const std::int64_t bytes = 3 * image.width;
  parallel_for(height, 8, [&](std::int64_t y) {
    const Taps& t = taps[static_cast<std::size_t>(y)];
    std::int64_t rest = 0;
#if OV_RESIZE_AVX2
    rest = resize_sums::row_avx2(image.row(t.first), bytes, t.weights, bytes, out.row(y));
#endif
    resize_sums::row_portable(image.row(t.first), bytes, t.weights, rest, bytes, out.row(y));
  });
  return out;
}

// Source positions by adding the scale again and again, as Pillow does: its rounding decides which pixel is taken.
std::vector<std::int64_t> nearest_positions(std::int64_t source, std::int64_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  std::vector<std::int64_t> positions(static_cast<std::size_t>(target));
  double at = scale * 0.5;
  for (std::int64_t& p : positions) {
    p = static_cast<std::int64_t>(at);
    at += scale;
  }
  return positions;
}

}  // namespace

std::vector<Taps> bicubic_taps(std::int64_t source, std::int64_t target, PassOrder order) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch, inverse = 1.0 / stretch;
  std::vector<Taps> taps(static_cast<std::size_t>(target));
  std::vector<std::vector<double>> weights(taps.size());
  double largest = 0;
  for (std::size_t i = 0; i < taps.size(); ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto last = std::min(source, static_cast<std::int64_t>(center + support + 0.5));
    double total = 0;
    taps[i].first = first;
    for (std::int64_t x = first; x < last; ++x) {
      weights[i].push_back(cubic((static_cast<double>(x) - center + 0.5) * inverse));
      total += weights[i].back();
    }
    for (double& w : weights[i]) {
      if (total != 0) w /= total;
      largest = std::max(largest, w);
    }
  }
  int bits = order == PassOrder::torch ? 0 : weight_bits;
  while (bits < weight_bits && static_cast<int>(0.5 + largest * (1 << (bits + 1))) < 1 << 15) ++bits;
  for (std::size_t i = 0; i < taps.size(); ++i)
    for (const double w : weights[i]) {
      const double scaled = w * (1 << bits);
      const auto whole = static_cast<std::int32_t>(w < 0 ? scaled - 0.5 : scaled + 0.5);
      taps[i].weights.push_back(whole * (1 << (weight_bits - bits)));
    }
  return taps;
}

Image resize_bicubic(const Image& image, std::int64_t width, std::int64_t height, PassOrder order) {
  check_resize("resize_bicubic", image, width, height);
  const auto rows = [&](const Image& i) { return width == i.width ? i : resize_rows(i, width, order); };
  const auto columns = [&](const Image& i) { return height == i.height ? i : resize_columns(i, height, order); };
  const std::int64_t rows_lost = image.height - height, columns_lost = image.width - width;
  const bool columns_first = order == PassOrder::pillow_13 && rows_lost > 0 && rows_lost > 2 * columns_lost;
  return columns_first ? rows(columns(image)) : columns(rows(image));
}

Image resize_nearest(const Image& image, std::int64_t width, std::int64_t height) {
  check_resize("resize_nearest", image, width, height);
  const auto xs = nearest_positions(image.width, width), ys = nearest_positions(image.height, height);
  Image out(width, height);
  // The sums may drift past the last pixel by rounding; Pillow leaves such pixels black.
  for (std::size_t y = 0; y < ys.size(); ++y) {
    if (ys[y] >= image.height) continue;
    std::uint8_t* to = out.row(static_cast<std::int64_t>(y));
    for (const std::int64_t x : xs) {
      if (x < image.width) std::copy_n(image.row(ys[y]) + 3 * x, 3, to);
      to += 3;
    }
  }
  return out;
}

}  // namespace ov
