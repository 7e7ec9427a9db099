#include "data/synth/canvas.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "base/rng.h"

namespace ov::synth {

Bitmap Bitmap::parse(std::string_view rows, int scale, const std::string& where) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at <= rows.size();) {
    const std::size_t end = std::min(rows.find(' ', at), rows.size());
    lines.push_back(rows.substr(at, end - at));
    at = end + 1;
  }
  Bitmap b;
  b.width = static_cast<int>(lines[0].size()) * scale;
  b.height = static_cast<int>(lines.size()) * scale;
  for (std::string_view line : lines) {
    if (line.size() != lines[0].size() || line.empty())
      input_error(where, ": expected rows of equal length, found '", line, "' after '", lines[0], "'");
    for (int repeat = 0; repeat < scale; ++repeat)
      for (char dot : line) {
        if (dot != '.' && dot != '#') input_error(where, ": expected '.' or '#', found '", dot, "'");
        b.ink.insert(b.ink.end(), static_cast<std::size_t>(scale), dot == '#');
      }
  }
  return b;
}

ShapeKind shape_of(std::string_view name) {
  static constexpr std::string_view kNames[] = {"circle", "square", "triangle", "cross", "ring", "diamond"};
  for (std::size_t i = 0; i < std::size(kNames); ++i)
    if (name == kNames[i]) return static_cast<ShapeKind>(i);
  input_error("shape '", name, "': expected circle, square, triangle, cross, ring or diamond");
}

bool inside(ShapeKind shape, int x, int y, int size) {
  const int u = std::abs(2 * x - (size - 1)), v = std::abs(2 * y - (size - 1));
  switch (shape) {
    case ShapeKind::circle: return u * u + v * v <= size * size;
    case ShapeKind::square: return true;
    case ShapeKind::triangle: return u <= y + 1;
    case ShapeKind::cross: return 3 * u < size || 3 * v < size;
    case ShapeKind::ring: return u * u + v * v <= size * size && 400 * (u * u + v * v) >= 121 * size * size;
    case ShapeKind::diamond: return u + v <= size;
  }
  return false;
}

Canvas::Canvas(int width, int height, Color background)
    : width_(width), height_(height), rgb_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3) {
  fill({0, 0, width, height}, background);
}

Color Canvas::at(int x, int y) const {
  const std::uint8_t* p = &rgb_[static_cast<std::size_t>((y * width_ + x) * 3)];
  return {p[0], p[1], p[2]};
}

Image Canvas::take() {
  Image image;
  image.width = width_;
  image.height = height_;
  image.rgb = std::move(rgb_);
  return image;
}

void Canvas::set(int x, int y, Color c) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  std::uint8_t* p = &rgb_[static_cast<std::size_t>((y * width_ + x) * 3)];
  p[0] = static_cast<std::uint8_t>(c.r);
  p[1] = static_cast<std::uint8_t>(c.g);
  p[2] = static_cast<std::uint8_t>(c.b);
}

void Canvas::fill(Rect box, Color c) {
  paint(box, c, [](int, int) { return true; });
}

void Canvas::draw(ShapeKind shape, int x, int y, int size, Color c) {
  paint({x, y, x + size, y + size}, c, [&](int px, int py) { return inside(shape, px, py, size); });
}

void Canvas::draw(const Bitmap& b, int x, int y, Color c) {
  paint({x, y, x + b.width, y + b.height}, c,
        [&](int px, int py) { return b.ink[static_cast<std::size_t>(py * b.width + px)] != 0; });
}

namespace {

// How many of a byte's 256 values give noise k = 0, ±1 .. ±8: 256 times the normal density of σ 3, rounded. They
// add up to 256, and their variance is 2 · 1120 / 256 = 8.75.
std::array<std::int8_t, 256> noise_table() {
  constexpr int kCount[9] = {34, 32, 27, 21, 14, 9, 5, 2, 1};
  std::array<std::int8_t, 256> table{};
  std::size_t at = 0;
  for (int k = -8; k <= 8; ++k)
    for (int i = 0; i < kCount[std::abs(k)]; ++i) table[at++] = static_cast<std::int8_t>(k);
  return table;
}

}  // namespace

void Canvas::add_noise(std::uint64_t seed, std::string_view purpose, std::uint64_t index) {
  static const std::array<std::int8_t, 256> table = noise_table();
  const Philox philox(seed, purpose, index);
  for (std::size_t i = 0; i < rgb_.size(); i += 16) {
    const PhiloxBlock block = philox.block(i / 16);
    const std::size_t n = std::min<std::size_t>(16, rgb_.size() - i);
    for (std::size_t k = 0; k < n; ++k) {
      const int noise = table[(block.word[k / 4] >> (8 * (k % 4))) & 255];
      rgb_[i + k] = static_cast<std::uint8_t>(std::clamp(rgb_[i + k] + noise, 0, 255));
    }
  }
}

}  // namespace ov::synth
