#include "image/resize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "base/parallel.h"
#include "image/decode.h"
#include "image/resize_sums.h"
#include "image/smart_resize.h"
#include "tests/image/golden_images.h"

namespace ov::image_test {
namespace {

Image gray_row(const std::vector<std::uint8_t>& values) {
  Image image(static_cast<std::int64_t>(values.size()), 1);
  for (std::size_t i = 0; i < values.size(); ++i) std::fill_n(image.rgb.data() + 3 * i, 3, values[i]);
  return image;
}

std::vector<int> first_channel(const Image& image) {
  std::vector<int> out;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) out.push_back(image.rgb[i]);
  return out;
}

// The same filter with exact weights and one rounding at the end, as a float implementation does it.
Image resize_in_floats(const Image& image, std::int64_t width, std::int64_t height) {
  const auto columns = bicubic_taps(image.width, width), rows = bicubic_taps(image.height, height);
  Image out(width, height);
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const Taps &across = columns[static_cast<std::size_t>(x)], &down = rows[static_cast<std::size_t>(y)];
        double sum = 0;
        for (std::size_t j = 0; j < down.weights.size(); ++j)
          for (std::size_t i = 0; i < across.weights.size(); ++i)
            sum += std::ldexp(double{1} * down.weights[j] * across.weights[i], -44) *
                   image.row(down.first +
                             static_cast<std::int64_t>(j))[3 * (across.first + static_cast<std::int64_t>(i)) + c];
        out.row(y)[3 * x + c] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(sum), 0.0, 255.0));
      }
  return out;
}

// resize.safetensors: src_HxWx3, and what Pillow makes of it, bicubic_HxW and nearest_HxW.
const std::string stored = "resize.safetensors";

Image golden_source() {
  const Safetensors file = Safetensors::open(golden + stored);
  for (const auto& e : file.entries())
    if (e.name.starts_with("src_")) return golden_picture(stored, e.name);
  input_error(stored, " has no picture src_*");
}

// The pictures of a kind, by "HxW".
std::map<std::string, Image> resized_by_pillow(const std::string& kind) {
  std::map<std::string, Image> out;
  const Safetensors file = Safetensors::open(golden + stored);
  for (const auto& e : file.entries())
    if (e.name.starts_with(kind)) out.emplace(e.name.substr(kind.size()), golden_picture(stored, e.name));
  REQUIRE(!out.empty());
  return out;
}

}  // namespace

TEST_CASE("resize: bicubic and nearest give Pillow's bytes on one picture at every stored size") {
  const Image source = golden_source();
  for (const auto& e : resized_by_pillow("bicubic_"))
    CHECK_MESSAGE(resize_bicubic(source, e.second.width, e.second.height) == e.second, e.first);
  for (const auto& e : resized_by_pillow("nearest_"))
    CHECK_MESSAGE(resize_nearest(source, e.second.width, e.second.height) == e.second, e.first);
}

TEST_CASE("resize: without the 8-bit picture between the passes the bytes are not Pillow's") {
  const Image source = golden_source();
  int compared = 0;
  for (const auto& e : resized_by_pillow("bicubic_")) {
    const Image& want = e.second;
    if (want.width == source.width || want.height == source.height) continue;
    CHECK_MESSAGE(resize_in_floats(source, want.width, want.height) != want, e.first);
    ++compared;
  }
  CHECK(compared > 0);
}

TEST_CASE("resize: the order of the passes is that of Pillow 13.0.0, or of 12.3.0 and before when asked for") {
  const Image source = read_image(extra + "pass_order.png");  // 53 x 37
  const auto sha = [&](std::int64_t width, std::int64_t height, PassOrder order) {
    return hash(resize_bicubic(source, width, height, order));
  };
  // Hashes of Image.resize(size, BICUBIC).tobytes() under Pillow 13.0.0, and under 11.3.0 and 12.3.0 alike.
  // 17 rows go, columns come; 17 rows go, 8 columns go; 16 rows go, 8 columns go: no more than twice as many.
  const std::string grown_13 = "c50e24c1273b0417b69b8b9a4ea3b4b193828c1d55fb138a8159d4dd9e62f25f";
  const std::string grown_12 = "0eb3a1b97cde65d9cd21caf98fcd69ff32ed45e88487ed531ebbe1a9597581ff";
  const std::string shrunk_13 = "70b5d20c2d0810346c00997affdc374514f95430529700772f6fb73e2a2f39d6";
  const std::string shrunk_12 = "ed60f79d7819a4d4a28ae3d2a4b22c8ba1b7e8819fc915d4d89e4a7330377a81";
  const std::string same = "7a1ff32a7e569982e17d730bda4fe4e22c1e89b085d6830f088b82ed61240afe";
  CHECK(sha(60, 20, PassOrder::pillow_13) == grown_13);
  CHECK(sha(60, 20, PassOrder::rows_first) == grown_12);
  CHECK(sha(45, 20, PassOrder::pillow_13) == shrunk_13);
  CHECK(sha(45, 20, PassOrder::rows_first) == shrunk_12);
  CHECK(sha(45, 21, PassOrder::pillow_13) == same);
  CHECK(sha(45, 21, PassOrder::rows_first) == same);
  // The wrong order, where Pillow does rows first whatever the version.
  CHECK(resize_bicubic(resize_bicubic(source, 53, 28), 28, 28) != resize_bicubic(source, 28, 28));
}

TEST_CASE("resize: the golden row of eight grey values") {
  const Image row = gray_row({0, 10, 50, 255, 128, 64, 32, 200});
  CHECK(first_channel(resize_bicubic(row, 4, 1)) == std::vector<int>{0, 144, 106, 107});
  CHECK(first_channel(resize_bicubic(row, 3, 1)) == std::vector<int>{28, 145, 95});
  CHECK(first_channel(resize_bicubic(row, 12, 1)) ==
        std::vector<int>{0, 2, 13, 33, 163, 252, 149, 90, 55, 25, 119, 211});
}

TEST_CASE("resize: weights of 8 -> 4, edge taps dropped and the rest renormalised") {
  const auto taps = bicubic_taps(8, 4);
  CHECK(taps[0].first == 0);
  CHECK(taps[0].weights == std::vector<std::int32_t>{1947982, 1947982, 508932, -157945, -52648});
  CHECK(taps[1].first == 0);
  CHECK(taps[1].weights == std::vector<std::int32_t>{-145748, 469632, 1797559, 1797559, 469632, -145748, -48583});
}

TEST_CASE("resize: an unchanged size is a copy; any number of threads gives the same bytes") {
  const Image image = drawn_picture(301, 211);
  CHECK(resize_bicubic(image, 301, 211) == image);
  const int before = threads();
  set_threads(1);
  const Image alone = resize_bicubic(image, 112, 336);
  set_threads(3);
  CHECK(resize_bicubic(image, 112, 336) == alone);
  set_threads(before);
  CHECK_THROWS_AS(resize_bicubic(image, 0, 5), Error);
  CHECK_THROWS_AS(resize_nearest(Image(), 5, 5), Error);
}

TEST_CASE("smart_resize: the golden table in all three variants") {
  struct Row {
    std::int64_t h, w;
    ImageSize hf, qwen, wide;  // width, height
    std::int64_t tokens;
  };
  const Row table[] = {
      {560, 560, {560, 560}, {560, 560}, {560, 560}, 400},
      {480, 640, {644, 476}, {644, 476}, {644, 476}, 391},
      {1080, 1920, {1932, 1092}, {1932, 1092}, {1932, 1092}, 2691},
      {2160, 3840, {2128, 1176}, {3836, 2156}, {2380, 1344}, 3192},
      {8000, 6000, {1372, 1820}, {3080, 4116}, {1540, 2072}, 3185},
      {42, 42, {56, 56}, {56, 56}, {56, 56}, 4},
      {70, 70, {56, 56}, {56, 56}, {56, 56}, 4},
      {14, 14, {56, 56}, {56, 56}, {56, 56}, 4},
      {10, 100, {196, 28}, {112, 28}, {196, 28}, 7},
      {13, 400, {336, 28}, {392, 28}, {336, 28}, 12},
      {378, 14, {28, 308}, {28, 392}, {28, 308}, 11},
  };
  for (const Row& r : table) {
    const ImageSize size{r.w, r.h};
    CHECK_MESSAGE(smart_resize(size, 28, 3136, 2560000) == r.hf, r.h, ",", r.w);
    CHECK_MESSAGE(smart_resize(size, 28, 3136, 12845056, SmartResizeRule::qwen_vl_utils) == r.qwen, r.h, ",", r.w);
    CHECK_MESSAGE(smart_resize(size, 28, 3136, 3240000) == r.wide, r.h, ",", r.w);
    CHECK(r.hf.width * r.hf.height / 784 == r.tokens);
  }
  // Both resizes after each other end elsewhere than the second alone.
  CHECK(smart_resize({3080, 4116}, 28, 3136, 2560000) == ImageSize{1372, 1848});
}

TEST_CASE("smart_resize: halves round to even, so 70 / 28 becomes 2 and not 3 (M-28)") {
  CHECK(smart_resize({70, 70}, 28, 3136, 2560000) != ImageSize{84, 84});  // what rounding halves up would give
  CHECK(smart_resize({98, 70}, 28, 3136, 2560000) == ImageSize{112, 56});
}

TEST_CASE("smart_resize: an aspect of 200 passes, anything above does not; a side cannot become zero") {
  CHECK(smart_resize({2000, 10}, 28, 3136, 2560000).width > 0);
  CHECK_THROWS_WITH_AS(smart_resize({2001, 10}, 28, 3136, 2560000), doctest::Contains("200 times"), Error);
  CHECK_THROWS_AS(smart_resize({10, 2001}, 28, 3136, 2560000), Error);
  CHECK_THROWS_AS(smart_resize({0, 10}, 28, 3136, 2560000), Error);
  CHECK(smart_resize({4000, 28}, 28, 784, 7840) == ImageSize{1036, 28});
  CHECK_THROWS_AS(smart_resize({4000, 28}, 28, 784, 7840, SmartResizeRule::qwen_vl_utils), Error);
}

#if OV_RESIZE_AVX2
TEST_CASE("resize: vector sums are the plain loops' bytes, for one tap to twenty and weights of both signs") {
  for (const std::int64_t taps : {1, 2, 3, 4, 5, 7, 8, 9, 20})
    for (const std::int64_t bytes : {1, 31, 32, 33, 97}) {
      std::vector<std::int32_t> weights;  // together below 2^23, twice what a resize has: a sum fits 32 bits
      std::vector<std::uint8_t> rows(static_cast<std::size_t>(taps * bytes));
      std::uint32_t x = static_cast<std::uint32_t>(taps * 100 + bytes);
      const auto next = [&] { return x = x * 1664525u + 1013904223u; };
      for (std::int64_t j = 0; j < taps; ++j)
        weights.push_back(static_cast<std::int32_t>(next() >> 9) / static_cast<std::int32_t>(taps) * (j % 2 ? -1 : 1));
      for (auto& b : rows) b = static_cast<std::uint8_t>(next() % 5 == 0 ? 255 : next() >> 24);
      std::vector<std::uint8_t> plain(static_cast<std::size_t>(bytes)), fast = plain;
      resize_sums::row_portable(rows.data(), bytes, weights, 0, bytes, plain.data());
      const std::int64_t rest = resize_sums::row_avx2(rows.data(), bytes, weights, bytes, fast.data());
      resize_sums::row_portable(rows.data(), bytes, weights, rest, bytes, fast.data());
      CHECK(plain == fast);

      std::vector<std::uint8_t> line(static_cast<std::size_t>(3 * taps) + 16, 77);
      for (std::size_t i = 0; i < static_cast<std::size_t>(3 * taps); ++i) line[i] = rows[i % rows.size()];
      std::uint8_t one[4] = {}, other[4] = {};
      resize_sums::pixel_portable(line.data(), weights, one);
      resize_sums::pixel_avx2(line.data(), resize_sums::in_fours(weights), other);
      CHECK(std::equal(one, one + 3, other));
    }
}
#endif

}  // namespace ov::image_test
