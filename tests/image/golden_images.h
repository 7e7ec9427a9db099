// What the tests of this room share: reference values and pictures to resize.
#pragma once
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "image/image.h"

namespace ov::image_test {

inline const std::string golden = "tests/golden/images/";
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

// One array of a safetensors file: 8 bytes of header length, a JSON header, the data.
struct Array {
  std::vector<std::int64_t> shape;
  std::string bytes;
};
inline Array golden_array(const std::string& file, const std::string& name) {
  const std::string all = read_file(golden + file);
  std::uint64_t header = 0;
  std::memcpy(&header, all.data(), 8);
  const Json entry = Json::parse(std::string_view(all).substr(8, header), file).at(name);
  Array a;
  for (const Json& n : entry.at("shape").items()) a.shape.push_back(n.as_int());
  const auto begin = static_cast<std::size_t>(entry.at("data_offsets")[0].as_int());
  const auto end = static_cast<std::size_t>(entry.at("data_offsets")[1].as_int());
  a.bytes = all.substr(8 + header + begin, end - begin);
  return a;
}
inline Image golden_picture(const std::string& file, const std::string& name) {
  const Array a = golden_array(file, name);
  Image image(a.shape.at(1), a.shape.at(0));
  if (image.rgb.size() != a.bytes.size()) input_error(file, ": ", name, " is not a picture");
  std::memcpy(image.rgb.data(), a.bytes.data(), a.bytes.size());
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
