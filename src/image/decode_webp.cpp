// libwebp. Container layout: https://developers.google.com/speed/webp/docs/riff_container
#include <webp/decode.h>

#include <algorithm>

#include "base/error.h"
#include "image/formats.h"

namespace ov::formats {
namespace {

std::int64_t little(std::string_view bytes, std::size_t at, std::size_t n) {
  std::int64_t v = 0;
  for (std::size_t i = 0; i < n; ++i) v |= std::int64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return v;
}

const std::uint8_t* data(std::string_view bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }

const char* text(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED: return "the file is truncated";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it uses a feature that libwebp does not know";
    case VP8_STATUS_OUT_OF_MEMORY: return "out of memory";
    default: return "the data is damaged";
  }
}

WebPBitstreamFeatures features(std::string_view bytes, const std::string& name) {
  WebPBitstreamFeatures f;
  const VP8StatusCode status = WebPGetFeatures(data(bytes), bytes.size(), &f);
  if (status != VP8_STATUS_OK) input_error(name, ": WebP header: ", text(status));
  return f;
}

// Decodes into `image` with the frame's upper left corner at (left, top).
void decode_at(std::string_view bytes, std::int64_t left, std::int64_t top, Image& image, const std::string& name) {
  const WebPBitstreamFeatures f = features(bytes, name);
  if (left + f.width > image.width || top + f.height > image.height)
    input_error(name, ": WebP frame of ", f.width, " x ", f.height, " at ", left, ",", top, " leaves the canvas of ",
                image.width, " x ", image.height);
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) machine_error("libwebp: headers and library have different versions");
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image.row(top) + left * 3;
  config.output.u.RGBA.stride = static_cast<int>(image.width * 3);
  config.output.u.RGBA.size = static_cast<std::size_t>(image.width * 3 * (f.height - 1) + f.width * 3);
  const VP8StatusCode status = WebPDecode(data(bytes), bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) input_error(name, ": WebP data: ", text(status));
}

struct Frame {
  std::int64_t left, top;
  std::string_view bytes;  // ALPH and VP8, or VP8L
};

// The first picture among these chunks: VP8L, or VP8 with the ALPH before it, from its first byte to its last. What
// stands after it in the file must not reach the decoder, which would read a damaged picture on into it.
std::string_view image_chunks(std::string_view chunks, const std::string& name) {
  std::size_t begin = chunks.npos;
  for (std::size_t at = 0; at + 8 <= chunks.size();) {
    const auto size = static_cast<std::size_t>(little(chunks, at + 4, 4));
    const std::string_view kind = chunks.substr(at, 4);
    if (chunks.size() - at - 8 < size) break;
    if (kind == "ALPH" || kind == "VP8 " || kind == "VP8L") begin = std::min(begin, at);
    if (kind == "VP8 " || kind == "VP8L") return chunks.substr(begin, at + 8 + size - begin);
    at += 8 + size + (size & 1);
  }
  input_error(name, ": WebP without a complete picture");
}

// The first ANMF chunk: x/2, y/2, width-1, height-1, duration (3 bytes each), flags (1), then the frame's own chunks.
Frame first_frame(std::string_view bytes, const std::string& name) {
  for (std::size_t at = 12; at + 8 <= bytes.size();) {
    const auto size = static_cast<std::size_t>(little(bytes, at + 4, 4));
    const std::string_view body = bytes.substr(at + 8, size);
    if (body.size() < size) break;
    if (bytes.substr(at, 4) == "ANMF" && size >= 16)
      return {2 * little(body, 0, 3), 2 * little(body, 3, 3), image_chunks(body.substr(16), name)};
    at += 8 + size + (size & 1);
  }
  input_error(name, ": WebP animation without a complete first frame");
}

}  // namespace

ImageSize webp_size(std::string_view bytes, const std::string& name) {
  const WebPBitstreamFeatures f = features(bytes, name);
  return {f.width, f.height};
}

Image decode_webp(std::string_view bytes, const std::string& name) {
  const WebPBitstreamFeatures f = features(bytes, name);
  check_size({f.width, f.height}, name);
  const std::int64_t promised = little(bytes, 4, 4) + 8;
  if (promised < 12 || promised > static_cast<std::int64_t>(bytes.size()))
    input_error(name, ": WebP: the file is truncated (", bytes.size(), " of ", promised, " bytes)");
  Image image(f.width, f.height);  // black where a frame does not reach
  if (f.has_animation) {
    const Frame frame = first_frame(bytes, name);
    decode_at(frame.bytes, frame.left, frame.top, image, name);
  } else {
    decode_at(image_chunks(bytes.substr(12, static_cast<std::size_t>(promised) - 12), name), 0, 0, image, name);
  }
  return image;
}

}  // namespace ov::formats
