// What the toy world is made of, read from data files: words and colours (vocabulary.json), bitmaps (glyphs.json).
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "data/synth/canvas.h"
#include "data/synth/draws.h"

namespace ov::synth {

using Words = std::vector<std::string>;

struct World {
  Words colors, shapes, row_letters, vowels, consonants, signs, suits, pieces, plants, animals;
  std::vector<Color> rgb;                                  // of colors[i]
  std::vector<std::pair<std::string, std::string>> zh;     // a value and its Chinese name
  std::vector<std::pair<std::string, Bitmap>> characters;  // 10x14 pixels each
  std::vector<std::pair<std::string, Bitmap>> icons;       // 14x14 pixels each

  // Throws input_error: a name that the files do not hold.
  const Bitmap& character(std::string_view name) const;
  const Bitmap& icon(std::string_view name) const;
  Color color(std::string_view name) const;

  // Every word that has a Chinese name replaced by it, two words at a time first: "speed limit 5 0" -> "限速 5 0".
  std::string in_chinese(std::string_view value) const;
};

// Reads vocabulary.json and glyphs.json of `data_dir`. Throws input_error naming file and key.
World read_world(const std::string& data_dir);

// Every channel moved by up to 8, within a byte.
Color near(Color c, Draws& draws);

// Background of every scene: a grey near the middle of the pixel range, which normalises to about +0.5.
Canvas grey_canvas(int width, int height, Draws& draws);

// {name} in `pattern` replaced by the slot of that name. Throws input_error naming `where`
// for a slot that is not given.
using Slots = std::vector<std::pair<std::string_view, std::string>>;
std::string fill_slots(std::string_view pattern, const Slots& slots, const std::string& where);

}  // namespace ov::synth
