// The resizes that the recipe uses, bit for bit: Pillow's two (src/libImaging/Resample.c and Geometry.c), and the
// bicubic one of torchvision on bytes (PyTorch 2.8, aten/src/ATen/native/cpu/UpSampleKernel.cpp).
// Any thread count gives the same bytes. Errors: input_error when a side of the target is below 1 or the source is
// empty.
#pragma once
#include <cstdint>
#include <vector>

#include "image/image.h"

namespace ov {

// Which side the bicubic resize does first, and how fine its weights are. The picture in between is rounded to 8 bits,
// so the order shows.
//   pillow_13   columns first when the height loses more than twice as many pixels as the width, else rows first:
//               Pillow 13.0.0
//   rows_first  Pillow up to 12.3.0, and so whatever was trained before 13.0.0 came out
//   torch       rows first; the weights of a side are rounded to as many bits as the largest has room for in 16
enum class PassOrder { pillow_13, rows_first, torch };

// Bicubic with a = -1/2, antialiased: when shrinking, the kernel is stretched by the scale. A side that keeps its
// length is not filtered.
Image resize_bicubic(const Image& image, std::int64_t width, std::int64_t height,
                     PassOrder order = PassOrder::pillow_13);

// The source pixel under the centre of each target pixel.
Image resize_nearest(const Image& image, std::int64_t width, std::int64_t height);

// What one target position sums: source positions first .. first + weights.size() - 1, weights in units of 2^-22.
// The sum of the weights is 2^22 up to rounding. Those of torch, in units of 2^-p, are multiples of 2^(22-p), which
// gives the same bytes. Shown for tests and for reading.
struct Taps {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};
std::vector<Taps> bicubic_taps(std::int64_t source, std::int64_t target, PassOrder order = PassOrder::pillow_13);

}  // namespace ov
