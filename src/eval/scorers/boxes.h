// A box as RefCOCO's region tasks compare it.
#pragma once
#include <array>

namespace ov::public_tasks {

using Box = std::array<double, 4>;  // x1 y1 x2 y2
// From x y width height in pixels.
Box shares_of_picture(const Box& xywh, double width, double height);

}  // namespace ov::public_tasks
