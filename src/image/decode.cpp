#include "image/decode.h"

#include <algorithm>

#include "base/error.h"
#include "base/io/mapped_file.h"
#include "base/text.h"
#include "image/formats.h"

namespace ov {
namespace {

struct Codec {
  const char* kind;  // as base/text.h calls what begins with its first bytes
  ImageSize (*size)(std::string_view bytes, const std::string& name);
  Image (*decode)(std::string_view bytes, const std::string& name);
};
constexpr Codec codecs[] = {{"a JPEG picture", formats::jpeg_size, formats::decode_jpeg},
                            {"a PNG picture", formats::png_size, formats::decode_png},
                            {"a WebP picture", formats::webp_size, formats::decode_webp}};

const Codec& codec_of(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) input_error(name, ": the file is empty; expected a JPEG, PNG or WebP picture");
  const std::string kind = looks_like(bytes);
  for (const Codec& c : codecs)
    if (kind == c.kind) return c;
  input_error(name, ": not a JPEG, PNG or WebP picture (told by its first bytes)",
              kind.empty() ? "" : "; it looks like " + kind);
}

}  // namespace

namespace formats {

void check_size(ImageSize size, const std::string& name) {
  if (size.width <= 0 || size.height <= 0)
    input_error(name, ": the picture has no pixels (width ", size.width, ", height ", size.height, ")");
  // Both sides fit in 32 bits in every format, so the product does not overflow.
  if (size.width * size.height > max_image_pixels)
    input_error(name, ": ", size.width, " x ", size.height, " pixels; the limit is ", max_image_pixels,
                " (a guard against decompression bombs)");
  // No picture longer than 200 times its width is used (smart_resize), so a large one is not decoded first.
  constexpr std::int64_t large = 1 << 24;
  if (size.width * size.height > large && std::max(size.width, size.height) > 200 * std::min(size.width, size.height))
    input_error(name, ": ", size.width, " x ", size.height,
                " pixels: the longer side is more than 200 times the shorter one");
}

}  // namespace formats

Image decode_image(std::string_view bytes, const std::string& name) {
  return codec_of(bytes, name).decode(bytes, name);
}

ImageSize image_size(std::string_view bytes, const std::string& name) {
  const ImageSize size = codec_of(bytes, name).size(bytes, name);
  formats::check_size(size, name);
  return size;
}

Image read_image(const std::string& path) { return decode_image(MappedFile::open(path)->text(), path); }
ImageSize read_image_size(const std::string& path) { return image_size(MappedFile::open(path)->text(), path); }

}  // namespace ov
