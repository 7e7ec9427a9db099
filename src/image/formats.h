// The three decoders behind decode.h. Each throws input_error that starts with `name`.
#pragma once
#include <string>
#include <string_view>

#include "image/image.h"

namespace ov::formats {

ImageSize jpeg_size(std::string_view bytes, const std::string& name);
Image decode_jpeg(std::string_view bytes, const std::string& name);

ImageSize png_size(std::string_view bytes, const std::string& name);
Image decode_png(std::string_view bytes, const std::string& name);

ImageSize webp_size(std::string_view bytes, const std::string& name);
Image decode_webp(std::string_view bytes, const std::string& name);

// Throws unless 0 < width * height <= max_image_pixels. Called before anything of that size is allocated.
void check_size(ImageSize size, const std::string& name);

}  // namespace ov::formats
