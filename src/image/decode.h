// Files to pixels, bit for bit as Pillow's Image.open(file).convert("RGB") gives them.
//
//   JPEG   grey, YCbCr at any subsampling, RGB, CMYK and YCCK; baseline and progressive
//   PNG    every colour type and depth, interlaced or not; of an animation the default image
//   WebP   lossy and lossless; of an animation the first frame on its canvas
//
// What Pillow does and one might not expect: alpha is dropped, not blended, also that of a palette; 16-bit grey is
// clipped at 255, while 16-bit colour and grey with alpha keep their high byte; CMYK is taken as inverted, with or
// without an Adobe marker, and turned into RGB without a colour profile; the EXIF orientation is ignored.
//
// The format is told by the first bytes, never by the name. `name` stands in error messages. Errors (input_error):
// another format, zero size, damaged or truncated data, more than max_image_pixels, a JPEG of more than 100 scans, a
// large picture whose sides no later step accepts (1 to more than 200). A JPEG that ends early is an error even where
// libjpeg would fill the rest with grey. What Pillow accepts is accepted: a PNG cut off behind its last row or with a
// wrong checksum over image data, a JPEG with damaged but complete data.
#pragma once
#include <string>
#include <string_view>

#include "image/image.h"

namespace ov {

// Pillow refuses pictures of more than twice its Image.MAX_IMAGE_PIXELS.
constexpr std::int64_t max_image_pixels = 2 * std::int64_t{89478485};

Image decode_image(std::string_view bytes, const std::string& name);
Image read_image(const std::string& path);

// Reads headers only: what a packer needs to know how many tokens a picture will have. The pixels may still be damaged.
ImageSize image_size(std::string_view bytes, const std::string& name);
ImageSize read_image_size(const std::string& path);

}  // namespace ov
