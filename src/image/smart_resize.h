// The size a picture is resized to before it is cut into patches: both sides multiples of a factor, the area within
// limits, the aspect kept as well as that allows.
#pragma once
#include <cstdint>

#include "image/image.h"

namespace ov {

//   hf             Transformers' Qwen2VLImageProcessor (4.50 and newer)
//   qwen_vl_utils  the resize that Qwen's helper does before the processor sees the picture: a side never becomes zero
//                  in the first rounding, but may when shrinking
enum class SmartResizeRule { hf, qwen_vl_utils };

// With f the factor, β = sqrt(h w / max) or sqrt(min / (h w)), and rounding of halves to even:
//   h' = round(h / f) f                  and w' likewise; then
//   h' = max(f, floor(h / β / f) f)      if h' w' > max_pixels
//   h' = ceil(h β / f) f                 if h' w' < min_pixels
// qwen_vl_utils: the first line has the max(f, ·), the second has not.
// Errors (input_error): a side below 1; a side more than 200 times the other; a result of zero.
ImageSize smart_resize(ImageSize size, std::int64_t factor, std::int64_t min_pixels, std::int64_t max_pixels,
                       SmartResizeRule rule = SmartResizeRule::hf);

}  // namespace ov
