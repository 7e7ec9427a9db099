#include "image/patches.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "image/decode.h"
#include "image/resize.h"
#include "image/smart_resize.h"
#include "tests/image/golden_images.h"

namespace ov::image_test {
namespace {

ProcessorConfig limits(std::int64_t min_pixels, std::int64_t max_pixels) {
  ProcessorConfig config;
  config.min_pixels = min_pixels;
  config.max_pixels = max_pixels;
  return config;
}

std::string hash(const Tensor& t) { return image_test::hash(t.data<float>(), t.nbytes()); }

// Patches in reading order instead of merge-block order: the wrong variant.
Tensor raster_patches(const Image& image, const ProcessorConfig& config) {
  const ProcessorConfig single{.patch = config.patch, .merge = 1};
  return cut_patches(image, single).pixel_values;
}

ProcessorConfig parsed(const std::string& text) { return processor_config(Json::parse(text, "p.json"), "p.json"); }

}  // namespace

TEST_CASE("patches: all golden cases bit for bit, from file to pixel_values (M-31, M-33, R-25)") {
  const Json all = Json::read(golden + "cases.json");
  REQUIRE(all.at("cases").size() > 0);
  for (const Json& c : all.at("cases").items()) {
    const std::string name = c.at("file").as_string() + " / " + c.at("limits").as_string();
    const ProcessorConfig config = limits(c.at("min_pixels").as_int(), c.at("max_pixels").as_int());
    const Image image = read_image(golden + c.at("file").as_string());
    const Patches patches = make_patches(image, config);
    for (std::size_t i = 0; i < 3; ++i) CHECK_MESSAGE(patches.grid[i] == c.at("grid_thw")[i].as_int(), name);
    CHECK_MESSAGE(patches.pixel_values.shape() == Shape({c.at("rows").as_int(), 588}), name);
    CHECK_MESSAGE(hash(patches.pixel_values) == c.at("pixel_values_f32_le_sha256").as_string(), name);
    CHECK_MESSAGE(patch_grid(image.size(), config) == patches.grid, name);
    CHECK_MESSAGE(merged_tokens(image.size(), config) == c.at("rows").as_int() / 4, name);
  }
}

TEST_CASE("patches: the stored arrays agree element by element") {
  const Json all = Json::read(golden + "cases.json");
  const Safetensors stored = Safetensors::open(golden + "patches.safetensors");
  std::size_t compared = 0;
  for (const Json& c : all.at("cases").items()) {
    const std::string name = c.at("file").as_string() + "/" + c.at("limits").as_string();
    if (!stored.find(name)) continue;  // the large ones are not stored
    const Tensor want = stored.tensor(name);
    const Patches got = make_patches(read_image(golden + c.at("file").as_string()),
                                     limits(c.at("min_pixels").as_int(), c.at("max_pixels").as_int()));
    REQUIRE(got.pixel_values.shape() == want.shape());
    CHECK_MESSAGE(std::memcmp(got.pixel_values.data<float>(), want.data<float>(), want.nbytes()) == 0, name);
    ++compared;
  }
  CHECK(compared > 0);
  CHECK(compared == stored.entries().size());
}

TEST_CASE("patches: reading order, nearest, or a rescale rounded once less are told apart by the hash (T-36)") {
  const Json all = Json::read(golden + "cases.json");
  const auto resizes = [&](const Json& c) {  // a picture of several patches, whose own size is none of the grid's
    const Image image = read_image(golden + c.at("file").as_string());
    return c.at("rows").as_int() > 4 && image.height != 14 * c.at("grid_thw")[1].as_int() &&
           image.width != 14 * c.at("grid_thw")[2].as_int();
  };
  const auto& cases = all.at("cases").items();
  const auto found = std::find_if(cases.begin(), cases.end(), resizes);
  REQUIRE(found != cases.end());
  const Json& c = *found;
  const std::string want = c.at("pixel_values_f32_le_sha256").as_string();
  const ProcessorConfig config = limits(c.at("min_pixels").as_int(), c.at("max_pixels").as_int());
  const Image image = read_image(golden + c.at("file").as_string());
  const ImageSize size = smart_resize(image.size(), 28, config.min_pixels, config.max_pixels);
  const Image resized = resize_bicubic(image, size.width, size.height);
  CHECK(hash(cut_patches(resized, config).pixel_values) == want);
  CHECK(hash(raster_patches(resized, config)) != want);
  CHECK(hash(cut_patches(resize_nearest(image, size.width, size.height), config).pixel_values) != want);

  // The fast processor's (byte - 255 mean) / (255 std).
  const auto slow = normalized_values(config);
  int different = 0;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto mean = static_cast<float>(config.mean[0] * 255), deviation = static_cast<float>(config.std[0] * 255);
    different += (static_cast<float>(byte) - mean) / deviation != slow[0][byte];
  }
  CHECK(different > 0);
}

TEST_CASE("patches: normalised bytes have the slow processor's bits (M-31)") {
  const auto table = normalized_values(ProcessorConfig{});
  CHECK(table[0][0] == -1.79226255f);
  CHECK(table[1][0] == -1.75209713f);
  CHECK(table[2][0] == -1.48021984f);
  CHECK(table[0][128] == 0.0763361454f);
  CHECK(table[1][128] == 0.168897316f);
  CHECK(table[2][128] == 0.339948773f);
  CHECK(table[0][183] == 0.879249513f);
  CHECK(table[0][255] == 1.93033612f);
  CHECK(table[1][255] == 2.07488370f);
  CHECK(table[2][255] == 2.14589691f);
}

TEST_CASE(
    "patches: rows go block by block, and inside a row channel, y, x; other patch and merge sizes too (M-09, M-32)") {
  ProcessorConfig config;
  config.patch = 2;
  config.merge = 3;
  config.rescale = 1;
  config.mean = {0, 0, 0};
  config.std = {1, 1, 1};
  Image image(12, 6);  // 2 x 1 blocks of 3 x 3 patches of 2 x 2 pixels; red = x, green = y, blue = 99
  for (std::int64_t y = 0; y < 6; ++y)
    for (std::int64_t x = 0; x < 12; ++x) {
      image.row(y)[3 * x] = static_cast<std::uint8_t>(x);
      image.row(y)[3 * x + 1] = static_cast<std::uint8_t>(y);
      image.row(y)[3 * x + 2] = 99;
    }
  const Patches p = cut_patches(image, config);
  CHECK(p.grid == std::array<std::int64_t, 3>{1, 3, 6});
  CHECK(p.pixel_values.shape() == Shape({18, 12}));
  const auto row = [&](std::int64_t n) {
    return std::vector<float>(p.pixel_values.row<float>(n), p.pixel_values.row<float>(n) + 12);
  };
  CHECK(row(0) == std::vector<float>{0, 1, 0, 1, 0, 0, 1, 1, 99, 99, 99, 99});
  CHECK(row(1) == std::vector<float>{2, 3, 2, 3, 0, 0, 1, 1, 99, 99, 99, 99});
  CHECK(row(3) == std::vector<float>{0, 1, 0, 1, 2, 2, 3, 3, 99, 99, 99, 99});
  CHECK(row(9) == std::vector<float>{6, 7, 6, 7, 0, 0, 1, 1, 99, 99, 99, 99});
  CHECK(row(17) == std::vector<float>{10, 11, 10, 11, 4, 4, 5, 5, 99, 99, 99, 99});
  CHECK_THROWS_WITH_AS(cut_patches(Image(12, 7), config), doctest::Contains("multiples of 6"), Error);
}

TEST_CASE("patches: any number of threads gives the same bits") {
  const Image image = drawn_picture(333, 222);
  const int before = threads();
  set_threads(1);
  const std::string alone = hash(make_patches(image, ProcessorConfig{}).pixel_values);
  set_threads(3);
  CHECK(hash(make_patches(image, ProcessorConfig{}).pixel_values) == alone);
  set_threads(before);
}

TEST_CASE(
    "processor config: the released file, and size, whose edges are areas that min_pixels and max_pixels replace") {
  const ProcessorConfig released = parsed(R"({"do_resize": true, "do_rescale": true, "do_normalize": true,
      "do_convert_rgb": true, "resample": 3, "rescale_factor": 0.00392156862745098, "patch_size": 14, "merge_size": 2,
      "temporal_patch_size": 1, "min_pixels": 3136, "max_pixels": 2560000,
      "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
      "size": {"longest_edge": 7, "shortest_edge": 5}})");
  CHECK(released.min_pixels == 3136);
  CHECK(released.max_pixels == 2560000);
  CHECK(released.rescale == 1.0 / 255);
  CHECK(released.mean == ProcessorConfig{}.mean);
  CHECK(released.std == ProcessorConfig{}.std);

  const ProcessorConfig only_size = parsed(R"({"size": {"longest_edge": 2560000, "shortest_edge": 784}})");
  CHECK(only_size.min_pixels == 784);
  CHECK(only_size.max_pixels == 2560000);
  CHECK(
      parsed(R"({"size": {"longest_edge": 2560000, "shortest_edge": 784}, "min_pixels": null, "max_pixels": null})") ==
      only_size);
  for (const char* neither : {R"({})", R"({"size": null, "min_pixels": null})"}) {
    CHECK(parsed(neither).min_pixels == 3136);
    CHECK(parsed(neither).max_pixels == 1003520);
  }
  const ProcessorConfig mixed =
      parsed(R"({"size": {"longest_edge": 2560000, "shortest_edge": 784}, "max_pixels": 50000, "patch_size": 16})");
  CHECK(mixed.min_pixels == 784);
  CHECK(mixed.max_pixels == 50000);
  CHECK(parsed(R"({"image_mean": 0.5})").mean == std::array<double, 3>{0.5, 0.5, 0.5});
  CHECK(parsed(R"({"do_center_crop": false, "crop_size": null, "unheard_of": 1})") == parsed("{}"));
  CHECK(mixed.factor() == 32);
}

TEST_CASE("processor config: what it cannot do is refused with file and key (M-32)") {
  const auto refused = [](const std::string& text, const char* key) {
    CHECK_THROWS_WITH_AS(parsed(text), doctest::Contains(key), Error);
    CHECK_THROWS_WITH_AS(parsed(text), doctest::Contains("p.json"), Error);
  };
  refused(R"({"temporal_patch_size": 2})", "temporal_patch_size");
  refused(R"({"resample": 2})", "resample");
  refused(R"({"do_normalize": false})", "do_normalize");
  refused(R"({"min_pixels": 0})", "min_pixels");
  refused(R"({"min_pixels": 5000, "max_pixels": 4000})", "max_pixels");
  refused(R"({"max_pixels": "many"})", "max_pixels");
  refused(R"({"image_mean": [0.5, 0.5]})", "image_mean");
  refused(R"({"image_std": [0.5, 0, 0.5]})", "image_std");
  refused(R"({"image_std": [0.5, 1e-320, 0.5]})", "image_std");
  refused(R"({"image_mean": [0, 1e300, 0]})", "image_mean");
  refused(R"({"rescale_factor": 0})", "rescale_factor");
  refused(R"({"rescale_factor": [1, 1, 1]})", "rescale_factor");
  refused(R"({"size": {"height": 224, "width": 224}})", "size");
  refused(R"({"size": {"longest_edge": 224}})", "size");
  refused(R"({"size": {"longest_edge": 2560000, "shortest_edge": null}})", "size");
  refused(R"({"size": {"longest_edge": 784, "shortest_edge": 2560000}})", "min_pixels");
  refused(R"({"min_pixels": 9000000000000000000, "max_pixels": 9000000000000000000})", "min_pixels");
  refused(R"({"patch_size": 14, "merge_size": 1000})", "merge_size");
  refused(R"({"do_center_crop": true})", "do_center_crop");
  refused(R"({"do_resize": null})", "do_resize");
  refused(R"({"image_processor_type": "CLIPImageProcessor"})", "image_processor_type");
  refused(R"([1])", "object");
}

}  // namespace ov::image_test
