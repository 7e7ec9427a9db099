#include "data/synth/world.h"

#include "base/error.h"

namespace ov::synth {

namespace {

Words read_words(const Json& file, std::string_view key) {
  Words words;
  for (const Json& word : file.at(key).items()) words.push_back(word.as_string());
  if (words.empty()) input_error("vocabulary.json: '", key, "' is empty");
  return words;
}

Words read_letters(const Json& file, std::string_view key) {
  Words letters;
  for (char c : file.at(key).as_string()) letters.emplace_back(1, c);
  return letters;
}

std::vector<std::pair<std::string, Bitmap>> read_bitmaps(const Json& file, std::string_view key, int width,
                                                         int height) {
  std::vector<std::pair<std::string, Bitmap>> bitmaps;
  for (const auto& [name, rows] : file.at(key).members()) {
    const std::string where = cat("glyphs.json: ", key, " '", name, "'");
    bitmaps.emplace_back(name, Bitmap::parse(rows.as_string(), 2, where));
    const Bitmap& b = bitmaps.back().second;
    if (b.width != width || b.height != height)
      input_error(where, ": expected ", width / 2, "x", height / 2, " dots, found ", b.width / 2, "x", b.height / 2);
  }
  return bitmaps;
}

const Bitmap& find(const std::vector<std::pair<std::string, Bitmap>>& in, std::string_view name, const char* what) {
  for (const auto& [key, bitmap] : in)
    if (key == name) return bitmap;
  input_error("glyphs.json: no ", what, " named '", name, "'");
}

int byte(const Json& value, const std::string& name) {
  const std::int64_t v = value.as_int();
  if (v < 0 || v > 255) input_error("vocabulary.json: color '", name, "': expected 0 to 255, found ", v);
  return static_cast<int>(v);
}

}  // namespace

const Bitmap& World::character(std::string_view name) const { return find(characters, name, "character"); }
const Bitmap& World::icon(std::string_view name) const { return find(icons, name, "icon"); }

Color World::color(std::string_view name) const {
  for (std::size_t i = 0; i < colors.size(); ++i)
    if (colors[i] == name) return rgb[i];
  input_error("vocabulary.json: no color named '", name, "'");
}

std::string World::in_chinese(std::string_view value) const {
  const auto name = [&](std::string_view words) -> const std::string* {
    for (const auto& [english, chinese] : zh)
      if (english == words) return &chinese;
    return nullptr;
  };
  std::string out;
  for (std::size_t at = 0; at < value.size();) {
    const std::size_t one = std::min(value.find(' ', at), value.size());
    const std::size_t two = one < value.size() ? std::min(value.find(' ', one + 1), value.size()) : one;
    const std::string* chinese = two > one ? name(value.substr(at, two - at)) : nullptr;
    const std::size_t end = chinese ? two : one;
    if (!chinese) chinese = name(value.substr(at, one - at));
    if (!out.empty()) out += ' ';
    out += chinese ? *chinese : std::string(value.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

World read_world(const std::string& data_dir) {
  const Json vocabulary = Json::read(data_dir + "/vocabulary.json"), glyphs = Json::read(data_dir + "/glyphs.json");
  World w;
  for (const auto& [name, rgb] : vocabulary.at("colors").members()) {
    w.colors.push_back(name);
    w.rgb.push_back({byte(rgb[0], name), byte(rgb[1], name), byte(rgb[2], name)});
  }
  w.shapes = read_words(vocabulary, "shapes");
  for (const std::string& shape : w.shapes) shape_of(shape);
  w.row_letters = read_letters(vocabulary, "row_letters");
  w.vowels = read_letters(vocabulary, "vowels");
  w.consonants = read_letters(vocabulary, "consonants");
  w.signs = read_words(vocabulary, "signs");
  w.suits = read_words(vocabulary, "suits");
  w.pieces = read_words(vocabulary, "pieces");
  w.plants = read_words(vocabulary, "plants");
  w.animals = read_words(vocabulary, "animals");
  for (const auto& [word, chinese] : vocabulary.at("zh").members()) w.zh.emplace_back(word, chinese.as_string());
  w.characters = read_bitmaps(glyphs, "characters", 10, 14);
  w.icons = read_bitmaps(glyphs, "icons", 14, 14);
  return w;
}

Color near(Color c, Draws& draws) {
  const auto move = [&](int v) { return std::clamp(v + draws.between(-8, 8), 0, 255); };
  const int r = move(c.r), g = move(c.g), b = move(c.b);
  return {r, g, b};
}

Canvas grey_canvas(int width, int height, Draws& draws) {
  const int grey = draws.between(150, 162);
  return Canvas(width, height, {grey, grey, grey});
}

std::string fill_slots(std::string_view pattern, const Slots& slots, const std::string& where) {
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    const std::size_t open = pattern.find('{', at);
    out += pattern.substr(at, open - at);
    if (open == std::string_view::npos) break;
    const std::size_t close = pattern.find('}', open);
    const std::string_view name = pattern.substr(open + 1, close - open - 1);
    const auto slot = std::find_if(slots.begin(), slots.end(), [&](const auto& s) { return s.first == name; });
    if (close == std::string_view::npos || slot == slots.end())
      input_error(where, ": nothing to put into '{", name, "}' of \"", pattern, "\"");
    out += slot->second;
    at = close + 1;
  }
  return out;
}

}  // namespace ov::synth
