// One or two lines of one to four characters, one character per cell, each line in a colour of its own.
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

struct Line {
  std::string color, string;
  Rect box;
};

// Letters that alternate between vowels and consonants, or digits.
std::string random_string(SceneBuilder& s, int length) {
  const bool letters = s.draws.percent(70);
  bool vowel = s.draws.percent(50);
  std::string out;
  for (int i = 0; i < length; ++i, vowel = !vowel)
    out += letters ? s.draws.pick(vowel ? s.world.vowels : s.world.consonants) : std::to_string(s.draws.below(10));
  return out;
}

Line draw_line(SceneBuilder& s, int row, const std::string& color) {
  const std::string string = random_string(s, s.draws.between(1, 4));
  const int width = s.canvas().width(), height = s.canvas().height();
  const int x = patch * s.draws.below(2);
  const int y = std::clamp(cell * row + s.draws.lattice(patch, 2, -1, 1), 0, height - patch);
  s.write(string, x, y, s.tint(color));
  const int n = static_cast<int>(string.size());
  const Rect box{x, y, std::min(width, x + cell * n - patch), y + patch};
  s.text(box, string);
  if (n > 1) s.text_of_each(string, x, y);
  return {color, string, box};
}

}  // namespace

void draw_text(SceneBuilder& s) {
  const int rows = s.draws.between(1, 3), n = rows == 1 ? 1 : s.draws.between(1, 2);
  s.begin(4 * cell, rows * cell);
  std::vector<int> at = s.draws.distinct(n, rows);
  std::sort(at.begin(), at.end());
  const Words colors = s.draws.sample(s.world.colors, n);
  std::vector<Line> lines;
  for (std::size_t i = 0; i < at.size(); ++i) lines.push_back(draw_line(s, at[i], colors[i]));

  Words described;
  for (const Line& line : lines) described.push_back(line.color + " text " + spaced(line.string));
  s.describe(join(described, " , "));
  if (n == 1) {
    s.ask("read", {{"text", spaced(lines[0].string)}});
    s.ask("characters", {{"n", digits(static_cast<int>(lines[0].string.size()))}});
  } else {
    s.ask("read_line", {{"place", "top"}, {"text", spaced(lines[0].string)}});
    s.ask("read_line", {{"place", "bottom"}, {"text", spaced(lines[1].string)}});
  }
  for (const Line& line : lines) {
    const Slots slots{{"color", line.color},
                      {"text", spaced(line.string)},
                      {"character", line.string.substr(0, 1)},
                      {"box", box_answer(line.box)}};
    if (n == 2) s.ask("read_color", slots);
    s.ask("first_character", slots);
    s.ask("text_color", slots);
    s.ask("text_box", slots);
    s.ask("t_text", slots);
    for (std::size_t i = 0; i < line.string.size(); ++i)
      s.ask("t_character",
            {{"color", line.color}, {"place", std::to_string(i + 1)}, {"character", line.string.substr(i, 1)}});
  }
}

}  // namespace ov::synth
