// Bar charts of two to four bars, and tables of three columns whose rows are named by a digit or by a colour.
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

constexpr int kBaseline = 70;  // the pixel row on which bars stand; a unit of value is one patch high

}  // namespace

void draw_bars(SceneBuilder& s) {
  Draws& draws = s.draws;
  const int n = draws.between(2, 4);
  Canvas& canvas = s.begin(4 * cell, 3 * cell);
  for (int v = 1; v <= 5; ++v)
    canvas.fill({0, kBaseline - patch * v, canvas.width(), kBaseline - patch * v + 1}, {185, 185, 185});
  canvas.fill({0, kBaseline, canvas.width(), kBaseline + 2}, ink);

  const Words colors = draws.sample(s.world.colors, n);
  std::vector<int> values = draws.distinct(n, 5);
  const bool repeats = draws.percent(30);
  for (int& v : values) v = repeats ? draws.between(1, 5) : v + 1;

  Words described;
  for (std::size_t i = 0; i < colors.size(); ++i) {
    const int x = cell * static_cast<int>(i) + draws.between(4, 8);
    const Rect bar{x, kBaseline - patch * values[i], x + 16, kBaseline};
    canvas.fill(bar, s.tint(colors[i]));
    described.push_back(colors[i] + " bar " + digits(values[i]));
    s.object(bar, described.back());
  }
  s.describe(join(described, " , "));

  const auto once = [&](int v) { return std::count(values.begin(), values.end(), v) == 1; };
  const int highest = *std::max_element(values.begin(), values.end());
  const int lowest = *std::min_element(values.begin(), values.end());
  for (std::size_t i = 0; i < colors.size(); ++i) {
    const Slots slots{{"color", colors[i]}, {"value", digits(values[i])}};
    s.ask("bar_value", slots);
    s.ask("t_bar", slots);
    if (!once(values[i])) continue;
    s.ask("bar_with", slots);
    s.ask("t_bar_with", slots);
    if (values[i] == highest) s.ask("bar_highest", slots);
    if (values[i] == lowest) s.ask("bar_lowest", slots);
  }
}

// Two thirds of the tables number their rows; the others name a row by a swatch and write its digits in that colour.
void draw_table(SceneBuilder& s) {
  Draws& draws = s.draws;
  const bool numbered = draws.below(3) < 2;
  const int rows = numbered ? draws.between(2, 4) : draws.between(2, 3), columns = 3;
  Canvas& canvas = s.begin(cell * (columns + 1), cell * rows);
  const Color line{150, 150, 150};
  for (int r = 1; r < rows; ++r) canvas.fill({0, cell * r - 1, canvas.width(), cell * r}, line);
  for (int c = 1; c <= columns; ++c) canvas.fill({cell * c - 1, 0, cell * c, canvas.height()}, line);

  const Words colors = draws.sample(s.world.colors, rows);
  Words described, keys;
  std::vector<Words> values;
  for (int r = 0; r < rows; ++r) {
    const int y = cell * r;
    const Color color = s.tint(numbered ? "blue" : colors[static_cast<std::size_t>(r)]);
    keys.push_back(numbered ? digits(r + 1) : colors[static_cast<std::size_t>(r)]);
    if (numbered) {
      s.write(keys.back(), 0, y + draws.between(0, 1), color);
      s.text({0, y, cell, y + cell}, keys.back());
    } else {
      canvas.fill({3, y + 3, 25, y + 25}, color);
      s.object({3, y + 3, 25, y + 25}, "large " + keys.back() + " square");
    }
    Words row;
    for (int value : draws.distinct(columns, 10)) {
      const int x = cell * (1 + static_cast<int>(row.size()));
      row.push_back(digits(value));
      s.write(row.back(), x, y + draws.between(0, 1), numbered ? ink : color);
      s.text({x, y, x + cell, y + cell}, row.back());
    }
    described.push_back((numbered ? "row " + keys.back() : keys.back() + " row") + " " + join(row));
    values.push_back(row);
  }
  s.describe(join(described, " , "));

  for (std::size_t r = 0; r < values.size(); ++r) {
    const Slots row{{"row", keys[r]}, {"color", keys[r]}, {"values", join(values[r])}};
    s.ask(numbered ? "row" : "color_row", row);
    s.ask("t_row", row);
    for (std::size_t c = 0; c < values[r].size(); ++c) {
      const Slots at{{"row", keys[r]}, {"color", keys[r]}, {"column", std::to_string(c + 1)}, {"value", values[r][c]}};
      s.ask(numbered ? "cell" : "color_cell", at);
      s.ask("t_cell", at);
    }
  }
}

}  // namespace ov::synth
