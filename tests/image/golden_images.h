// What the tests of this room share: reference values and pictures to resize.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "image/image.h"
#include "store/safetensors.h"

namespace ov::image_test {

inline const std::string golden = "tests/golden/images/";
inline const std::string fast = "tests/golden/images_fast/";
inline const std::string extra = "tests/golden/images_extra/";

inline std::string hash(const void* data, std::size_t bytes) { return sha256({static_cast<const char*>(data), bytes}); }
inline std::string hash(const Image& image) { return hash(image.rgb.data(), image.rgb.size()); }

// The files of tests/golden/images, each once.
inline std::vector<std::string> golden_files() {
  std::vector<std::string> files;
  const Json all = Json::read(golden + "cases.json");
  for (const Json& c : all.at("cases").items())
    if (files.empty() || files.back() != c.at("file").as_string()) files.push_back(c.at("file").as_string());
  return files;
}

inline Image golden_picture(const std::string& file, const std::string& name) {
  const Tensor t = Safetensors::open(golden + file).tensor(name);  // [height, width, 3] u8
  Image image(t.dim(1), t.dim(0));
  image.rgb = t.to_vector<std::uint8_t>();
  return image;
}

// Smooth colours with edges and some noise.
inline Image drawn_picture(std::int64_t width, std::int64_t height) {
  Image image(width, height);
  std::uint32_t noise = 1;
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        noise = noise * 1664525u + 1013904223u;
        const std::int64_t v =
            (x * (c + 1) * 255 / width + y * 255 / height) / 2 + (x / 9 + y / 7) % 2 * 90 + (noise >> 28);
        image.row(y)[3 * x + c] = static_cast<std::uint8_t>(std::min<std::int64_t>(v % 300, 255));
      }
  return image;
}

}  // namespace ov::image_test
