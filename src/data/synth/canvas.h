// A small RGB raster: filled shapes, bitmaps and noise in integer arithmetic, so that a picture has the same bytes
// everywhere.
//
// Coordinates are pixels from the top left corner; boxes are half open, [x1, x2) x [y1, y2). Whatever lies outside the
// picture is clipped.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/image.h"

namespace ov::synth {

struct Color {
  int r = 0, g = 0, b = 0;
};

struct Rect {
  int x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

// Ink or no ink per pixel, [height, width].
struct Bitmap {
  int width = 0, height = 0;
  std::vector<std::uint8_t> ink;

  // Rows of '.' and '#', separated by spaces; every dot becomes scale x scale pixels.
  // Throws input_error naming `where` when rows differ in length or hold anything else.
  static Bitmap parse(std::string_view rows, int scale, const std::string& where);
};

enum class ShapeKind { circle, square, triangle, cross, ring, diamond };

// Throws input_error for a name that is none of the six.
ShapeKind shape_of(std::string_view name);
// Whether pixel (x, y) of a size x size square belongs to the shape. With u = 2x - (size - 1), v likewise (twice the
// distance from the centre): circle u² + v² <= size²; ring: also u² + v² >= (0.55 size)²; triangle |u| <= y + 1;
// cross 3|u| < size or 3|v| < size; diamond |u| + |v| <= size.
bool inside(ShapeKind shape, int x, int y, int size);

class Canvas {
 public:
  Canvas(int width, int height, Color background);

  int width() const { return width_; }
  int height() const { return height_; }
  const std::vector<std::uint8_t>& rgb() const { return rgb_; }  // [H, W, 3]
  Image take();                                                  // the picture; the canvas is empty afterwards
  Color at(int x, int y) const;

  void set(int x, int y, Color c);
  void fill(Rect box, Color c);
  void draw(ShapeKind shape, int x, int y, int size, Color c);
  void draw(const Bitmap& bitmap, int x, int y, Color c);
  // Every pixel of `box` for which in(x, y), counted from the box's corner, is true.
  template <class F>
  void paint(Rect box, Color c, F in) {
    for (int y = box.y1; y < box.y2; ++y)
      for (int x = box.x1; x < box.x2; ++x)
        if (in(x - box.x1, y - box.y1)) set(x, y, c);
  }

  // Adds to every channel of every pixel an integer of standard deviation 2.96: a normal of σ 3, counted out over the
  // 256 values of a byte, at most 8 away. Drawn from the stream (seed, purpose, index), index below 2^32.
  void add_noise(std::uint64_t seed, std::string_view purpose, std::uint64_t index);

 private:
  int width_, height_;
  std::vector<std::uint8_t> rgb_;
};

}  // namespace ov::synth
