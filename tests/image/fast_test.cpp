// Pictures as Transformers' fast processor makes them, from file to pixel_values.
#include <doctest/doctest.h>

#include "image/decode.h"
#include "image/patches.h"
#include "image/smart_resize.h"
#include "tests/image/golden_images.h"

namespace ov::image_test {

TEST_CASE("fast processor: every golden case bit for bit, and the slow one's bits are others") {
  int differ = 0, resized_differ = 0, cases = 0;
  const Json all = Json::read(fast + "cases.json");
  for (const Json& c : all.at("cases").items()) {
    ++cases;
    const std::string name = c.at("file").as_string();
    CAPTURE(name);
    ProcessorConfig slow, quick;
    slow.min_pixels = quick.min_pixels = c.at("min_pixels").as_int();
    slow.max_pixels = quick.max_pixels = c.at("max_pixels").as_int();
    quick.order = PassOrder::torch;
    const Image image = read_image(image_test::fast + name);
    const ImageSize size = smart_resize(image.size(), quick.factor(), quick.min_pixels, quick.max_pixels);
    const std::string& resized = c.at("resized_sha256").as_string();
    CHECK(hash(resize_bicubic(image, size.width, size.height, PassOrder::torch)) == resized);
    resized_differ += hash(resize_bicubic(image, size.width, size.height)) != resized;

    const auto sha = [&](const ProcessorConfig& config) {
      const Patches p = make_patches(image, config);
      for (std::size_t i = 0; i < 3; ++i) CHECK(p.grid[i] == c.at("grid_thw")[i].as_int());
      return hash(p.pixel_values.data<float>(), p.pixel_values.nbytes());
    };
    const std::string& values = c.at("pixel_values_f32_le_sha256").as_string();
    CHECK(sha(quick) == values);
    differ += sha(slow) != values;
  }
  REQUIRE(cases > 0);
  CHECK(differ == cases);
  CHECK(resized_differ > 0);
}

}  // namespace ov::image_test
