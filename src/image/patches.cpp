#include "image/patches.h"

#include "base/parallel.h"
#include "image/smart_resize.h"

namespace ov {
std::array<std::array<float, 256>, 3> normalized_values(const ProcessorConfig& config) {
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c) {
    const auto whole = config.fast() ? static_cast<float>(1 / config.rescale) : 1.0F;
    const float mean = static_cast<float>(config.mean[c]) * whole,
                deviation = static_cast<float>(config.std[c]) * whole;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const double value = static_cast<double>(byte) * (config.fast() ? 1 : config.rescale);
      table[c][byte] = (static_cast<float>(value) - mean) / deviation;
    }
  }
  return table;
}

Patches cut_patches(const Image& image, const ProcessorConfig& config) {
  const std::int64_t p = config.patch, m = config.merge;
  if (image.width < 1 || image.height < 1 || image.width % config.factor() || image.height % config.factor())
    input_error("cut_patches: a picture of ", image.width, " x ", image.height,
                " pixels; both sides must be multiples of ", config.factor());
  const std::int64_t grid_h = image.height / p, grid_w = image.width / p, blocks_w = grid_w / m;
  const auto table = normalized_values(config);

  Patches out{Tensor({grid_h * grid_w, config.row_size()}, Dtype::f32, cpu(), Segment::data), {1, grid_h, grid_w}};
  parallel_for(grid_h * grid_w, 32, [&](std::int64_t n) {
    const std::int64_t block = n / (m * m), inside = n % (m * m);
    const std::int64_t top = (block / blocks_w * m + inside / m) * p, left = (block % blocks_w * m + inside % m) * p;
    float* to = out.pixel_values.row<float>(n);
    for (std::int64_t c = 0; c < 3; ++c) {
      const auto& value = table[static_cast<std::size_t>(c)];
      for (std::int64_t y = 0; y < p; ++y) {
        const std::uint8_t* from = image.row(top + y) + 3 * left + c;
        for (std::int64_t x = 0; x < p; ++x) *to++ = value[from[3 * x]];
      }
    }
  });
  return out;
}

Patches make_patches(const Image& image, const ProcessorConfig& config) {
  const ImageSize size = smart_resize(image.size(), config.factor(), config.min_pixels, config.max_pixels);
  return cut_patches(resize_bicubic(image, size.width, size.height, config.order), config);
}

std::array<std::int64_t, 3> patch_grid(ImageSize size, const ProcessorConfig& config) {
  const ImageSize resized = smart_resize(size, config.factor(), config.min_pixels, config.max_pixels);
  return {1, resized.height / config.patch, resized.width / config.patch};
}

std::int64_t merged_tokens(ImageSize size, const ProcessorConfig& config) {
  const auto [t, h, w] = patch_grid(size, config);
  return t * (h / config.merge) * (w / config.merge);
}

}  // namespace ov
