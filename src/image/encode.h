// Pixels to files, with fixed settings: the same picture gives the same bytes with the same library versions.
// Errors: input_error for a picture without pixels or a quality outside 1..100.
#pragma once
#include <string>

#include "image/image.h"

namespace ov {

// yuv420: chroma at half the width and height, what cameras and most web pictures use. yuv444: chroma at full size.
enum class ChromaSampling { yuv420, yuv444 };

// Baseline JPEG with the standard Huffman tables.
std::string encode_jpeg(const Image& image, int quality = 90, ChromaSampling sampling = ChromaSampling::yuv420);

// RGB, 8 bits, zlib level 6, libpng's adaptive row filters.
std::string encode_png(const Image& image);

}  // namespace ov
