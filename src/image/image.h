// A decoded picture: RGB, 8 bits a channel, rows from top to bottom, no padding between them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ov {

struct ImageSize {
  std::int64_t width = 0, height = 0;
  bool operator==(const ImageSize&) const = default;
};

struct Image {
  Image() = default;
  Image(std::int64_t width, std::int64_t height)
      : width(width), height(height), rgb(static_cast<std::size_t>(width * height * 3)) {}

  ImageSize size() const { return {width, height}; }
  std::uint8_t* row(std::int64_t y) { return rgb.data() + y * width * 3; }
  const std::uint8_t* row(std::int64_t y) const { return rgb.data() + y * width * 3; }
  bool operator==(const Image&) const = default;

  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]
};

}  // namespace ov
