#include "image/decode.h"

#include <doctest/doctest.h>

#include <utility>

#include "image/encode.h"
#include "tests/image/golden_images.h"

namespace ov::image_test {
namespace {

// The message of the input_error that decoding throws, empty when it succeeds.
std::string decode_failure(std::string_view bytes, Image* image = nullptr) {
  try {
    Image decoded = decode_image(bytes, "x.bin");
    if (image) *image = std::move(decoded);
    return {};
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::wrong_input);
    return e.what();
  }
}

}  // namespace

TEST_CASE("decoding: every golden picture has the bytes of Pillow's convert(\"RGB\") (T-21)") {
  const Json all = Json::read(golden + "cases.json");
  REQUIRE(all.at("cases").size() > 0);
  for (const Json& c : all.at("cases").items()) {
    const std::string& file = c.at("file").as_string();
    const Image image = read_image(golden + file);
    CHECK_MESSAGE(image.width == c.at("size_wh")[0].as_int(), file);
    CHECK_MESSAGE(image.height == c.at("size_wh")[1].as_int(), file);
    CHECK_MESSAGE(hash(image) == c.at("decoded_rgb_sha256").as_string(), file);
    CHECK_MESSAGE(read_image_size(golden + file) == image.size(), file);
  }
}

TEST_CASE("decoding: odd PNG, JPEG and WebP files agree with Pillow, also where it accepts damage") {
  const Json all = Json::read(extra + "cases.json");
  int equal = 0, refused = 0;
  for (const auto& entry : all.at("cases").members()) {
    const std::string& file = entry.first;
    const Json& c = entry.second;
    Image image;
    const std::string message = decode_failure(read_file(extra + file), &image);
    if (c.find("error")) {
      CHECK_MESSAGE(!message.empty(), file);
      ++refused;
      continue;
    }
    REQUIRE_MESSAGE(message.empty(), file, ": ", message);
    CHECK_MESSAGE(hash(image) == c.at("sha256").as_string(), file);
    CHECK(image_size(read_file(extra + file), file) == image.size());
    ++equal;
  }
  CHECK(equal > 0);
  CHECK(refused > 0);
}

TEST_CASE("decoding: a truncated picture is an error, or has the pixels that Pillow still finds") {
  const Json all = Json::read(extra + "truncations.json");
  int cuts = 0, accepted = 0;
  for (const auto& entry : all.members()) {
    const std::string& file = entry.first;
    const std::string bytes = read_file(fast + file);
    for (const Json& cut : entry.second.items()) {
      const auto keep = static_cast<std::size_t>(cut[0].as_int());
      // A copy of exactly this length, so that a sanitizer sees any read past the end.
      const std::vector<char> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(keep));
      Image image;
      const std::string message = decode_failure({part.data(), part.size()}, &image);
      ++cuts;
      if (cut[1].is_null()) {
        CHECK_MESSAGE(!message.empty(), file, " cut to ", keep, " bytes was accepted");
      } else {
        CHECK_MESSAGE(message.empty(), file, " cut to ", keep, ": ", message);
        CHECK_MESSAGE(hash(image) == cut[1].as_string(), file, " cut to ", keep);
        ++accepted;
      }
      try {
        image_size({part.data(), part.size()}, file);
      } catch (const Error& e) { CHECK(e.exit() == Exit::wrong_input); }
    }
  }
  CHECK(accepted > 0);
  CHECK(accepted < cuts);
}

TEST_CASE("decoding: every byte of a picture damaged in turn gives pixels or one error, never a crash") {
  for (const std::string file : {"tiny.png", "gray.jpg", "lossless_alpha.webp", "palette_trns.png", "cmyk.jpg"}) {
    std::string bytes = read_file(fast + file);
    for (std::size_t at = 0; at < bytes.size(); at += bytes.size() / 400 + 1) {
      const char kept = bytes[at];
      bytes[at] = static_cast<char>(kept ^ (1 << at % 8));
      const std::string message = decode_failure(bytes);
      if (!message.empty()) {
        CHECK(message.starts_with("x.bin: "));
        CHECK(message.find('\n') == std::string::npos);
      }
      bytes[at] = kept;
    }
    CHECK(decode_failure(bytes).empty());
  }
}

TEST_CASE("decoding: what is no picture is named and refused") {
  CHECK(decode_failure("") == "x.bin: the file is empty; expected a JPEG, PNG or WebP picture");
  CHECK(decode_failure("what is this...") == "x.bin: not a JPEG, PNG or WebP picture (told by its first bytes)");
  CHECK(decode_failure("GIF89a.........") ==
        "x.bin: not a JPEG, PNG or WebP picture (told by its first bytes); it looks like a GIF");
  CHECK(decode_failure(std::string_view("RIFF\0\0\0\0WAVEfmt ", 16)).find("not a JPEG") != std::string::npos);
  CHECK_THROWS_WITH_AS(read_image("tests/golden/images_fast/no_such_file.png"),
                       doctest::Contains("tests/golden/images_fast/no_such_file.png"), Error);
  CHECK_THROWS_WITH_AS(read_image("tests/golden/images_fast"), doctest::Contains("tests/golden/images_fast"), Error);
  const std::string jpeg = read_file(fast + "gray.jpg");
  CHECK(decode_failure(jpeg.substr(0, jpeg.size() / 2)).find("truncated") != std::string::npos);
}

TEST_CASE("decoding: the format is told by the content, not by the name") {
  CHECK(decode_image(read_file(fast + "rgb.png"), "photo.jpg").width == 57);
}

TEST_CASE("decoding: a bomb is refused by its header, the largest allowed size is not") {
  // The header chunk of a PNG with the given size; its checksum is not what is tested, so the chunk is made valid.
  const auto header = [](std::uint32_t width, std::uint32_t height) {
    std::string chunk = "IHDR";
    for (const std::uint32_t v : {width, height})
      for (int shift = 24; shift >= 0; shift -= 8) chunk += static_cast<char>(v >> shift);
    chunk += std::string("\x08\x02\0\0\0", 5);
    std::uint32_t crc = ~0u;
    for (const char c : chunk) {
      crc ^= static_cast<unsigned char>(c);
      for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    crc = ~crc;
    std::string png("\x89PNG\r\n\x1a\n\0\0\0\x0d", 12);
    png += chunk;
    for (int shift = 24; shift >= 0; shift -= 8) png += static_cast<char>(crc >> shift);
    return png + std::string("\0\0\0\0IDAT\x35\xaf\x06\x1e", 12);
  };
  CHECK(decode_failure(header(178956971, 1)).find("decompression bombs") != std::string::npos);
  CHECK_THROWS_WITH_AS(image_size(header(100000, 100000), "x"), doctest::Contains("100000 x 100000"), Error);
  CHECK(image_size(header(13377, 13377), "x") == ImageSize{13377, 13377});
  CHECK_THROWS_AS(image_size(header(13378, 13378), "x"), Error);
  for (const auto& png : {header(178956970, 1), header(1, 178956970)})
    CHECK(decode_failure(png).find("more than 200 times") != std::string::npos);
  CHECK(image_size(header(10, 3000), "x") == ImageSize{10, 3000});  // small: decoding it is no harm
  CHECK(decode_failure(header(0, 4)).starts_with("x.bin: "));
}

TEST_CASE("decoding: a WebP whose data ends early is damaged, whatever stands after it in the file") {
  // Cut inside the picture, with the sizes of chunk and file made to fit, and the rest given back after them.
  const std::string whole = read_file(extra + "lossless.webp");
  REQUIRE(whole.substr(12, 4) == "VP8L");
  int refused = 0;
  for (const std::size_t gone : {2u, 10u, 100u}) {
    std::string cut = whole.substr(0, (whole.size() - gone) & ~std::size_t{1});
    const auto put = [&](std::size_t at, std::size_t value) {
      for (int b = 0; b < 4; ++b) cut[at + static_cast<std::size_t>(b)] = static_cast<char>(value >> (8 * b));
    };
    put(4, cut.size() - 8);
    put(16, cut.size() - 20);
    const std::string alone = decode_failure(cut);
    const std::string followed = decode_failure(cut + whole.substr(cut.size()));
    CHECK(alone == followed);
    refused += !alone.empty();
  }
  CHECK(refused > 0);
}

TEST_CASE("decoding: a progressive JPEG of thousands of scans is refused after a hundred") {
  // One grey picture: its header, then the scan of the DC values again and again (refinements would need more tables).
  const auto marker = [](char code, const std::string& body) {
    const std::size_t n = body.size() + 2;
    return std::string("\xff", 1) + code + static_cast<char>(n >> 8) + static_cast<char>(n) + body;
  };
  const auto picture = [&](int scans) {
    std::string jpeg("\xff\xd8", 2);
    jpeg += marker('\xdb', std::string(1, '\0') + std::string(64, '\1'));
    jpeg += marker('\xc2', std::string("\x08\0\x08\0\x08\1\1\x11\0", 9));
    jpeg += marker('\xc4', std::string("\0\1", 2) + std::string(15, '\0') + std::string(1, '\0'));  // one code: no bits
    for (int i = 0; i < scans; ++i) jpeg += marker('\xda', std::string("\1\1\0\0\0\0", 6)) + "\x7f";
    return jpeg + std::string("\xff\xd9", 2);
  };
  CHECK(decode_failure(picture(90)) == "");
  CHECK(decode_failure(picture(2000)) == "x.bin: JPEG data: more than 100 scans");
}

TEST_CASE("encoding: PNG keeps every byte, JPEG the size and roughly the colours, and both repeat themselves") {
  const Image image = drawn_picture(61, 35);
  const std::string png = encode_png(image);
  CHECK(decode_image(png, "png") == image);
  CHECK(encode_png(image) == png);
  const auto mean_difference = [&](const std::string& jpeg) {
    const Image back = decode_image(jpeg, "jpeg");
    REQUIRE(back.rgb.size() == image.rgb.size());
    double sum = 0;
    for (std::size_t i = 0; i < image.rgb.size(); ++i) sum += std::abs(int{back.rgb[i]} - int{image.rgb[i]});
    return sum / static_cast<double>(image.rgb.size());
  };
  const std::string full = encode_jpeg(image, 95, ChromaSampling::yuv444), half = encode_jpeg(image, 95);
  CHECK(encode_jpeg(image, 95) == half);
  CHECK(half.size() < full.size());
  CHECK(mean_difference(full) < mean_difference(half));
  CHECK(mean_difference(full) < mean_difference(encode_jpeg(image, 30, ChromaSampling::yuv444)));
  CHECK_THROWS_AS(encode_jpeg(image, 0), Error);
  CHECK_THROWS_AS(encode_png(Image()), Error);
  CHECK_THROWS_AS(encode_jpeg(Image(70000, 1)), Error);
}

}  // namespace ov::image_test
