// A thermometer, a beaker, a food chain, a ball on a ramp, a circuit.
#include "base/error.h"
#include "data/synth/builder.h"

namespace ov::synth {

void draw_thermometer(SceneBuilder& s) {
  Canvas& canvas = s.begin(4 * cell, 4 * cell);
  const int x = patch + s.draws.lattice(patch, 6, 1, 2), value = s.draws.between(0, 5);
  const std::string color = s.draws.pick(s.world.colors);
  const Color liquid = s.tint(color);
  canvas.fill({x, 8, x + 10, 98}, ink);
  canvas.fill({x + 2, 10, x + 8, 96}, {245, 245, 245});
  for (int mark = 0; mark <= 5; ++mark) canvas.fill({x + 10, 84 - patch * mark, x + 13, 85 - patch * mark}, ink);
  canvas.draw(ShapeKind::circle, x - 2, 92, patch, liquid);
  canvas.fill({x + 2, 84 - patch * value, x + 8, 100}, liquid);
  const std::string reading = digits(10 * value);
  const Rect box{x - 2, 8, x + 15, 106};
  s.object(box, color + " thermometer " + reading);

  s.describe(place_across(box, canvas.width()) + " " + color + " thermometer " + reading);
  s.ask("temperature", {{"value", reading}});
  s.ask("thermometer_color", {{"color", color}});
}

void draw_beaker(SceneBuilder& s) {
  Canvas& canvas = s.begin(4 * cell, 3 * cell);
  const int x = std::min(s.draws.lattice(patch, 6, 0, 2), canvas.width() - 41);
  const int value = s.draws.between(1, 5);
  const std::string color = s.draws.pick(s.world.colors);
  canvas.fill({x, 6, x + 2, 80}, ink);
  canvas.fill({x + 38, 6, x + 40, 80}, ink);
  canvas.fill({x, 78, x + 40, 80}, ink);
  canvas.fill({x + 2, 78 - patch * value, x + 38, 78}, s.tint(color));
  for (int mark = 1; mark <= 5; ++mark) canvas.fill({x + 28, 78 - patch * mark, x + 38, 79 - patch * mark}, ink);
  const Rect box{x, 6, x + 40, 80};
  s.object(box, color + " beaker " + digits(value));

  s.describe(place_across(box, canvas.width()) + " beaker " + color + " liquid level " + digits(value));
  s.ask("level", {{"value", digits(value)}});
  s.ask("liquid_color", {{"color", color}});
}

// Three pictures and two arrows that point from the food to who eats it. Only the arrows tell: any animal may eat any
// other here.
void draw_food_chain(SceneBuilder& s) {
  Draws& draws = s.draws;
  const int rows = draws.between(1, 2);
  Canvas& canvas = s.begin(4 * cell, rows * cell);
  const int row = draws.below(rows), y = cell * row + (draws.percent(50) ? 1 : 13);

  Words first = s.world.animals;
  first.insert(first.end(), s.world.plants.begin(), s.world.plants.end());
  Words chain{draws.pick(first)};
  for (const std::string& animal : draws.sample(s.world.animals, 3))
    if (animal != chain[0] && chain.size() < 3) chain.push_back(animal);

  const bool rightwards = draws.percent(50);
  for (int i = 0; i < 3; ++i) {
    const std::string& name = chain[static_cast<std::size_t>(rightwards ? i : 2 - i)];
    const bool plant = std::count(s.world.plants.begin(), s.world.plants.end(), name) > 0;
    const int x = 42 * i, top = y + draws.between(-1, 1);
    canvas.draw(s.world.icon(name), x, top, near(plant ? Color{30, 140, 50} : Color{140, 80, 30}, draws));
    s.object({x, top, x + patch, top + patch}, name);
  }
  for (int x : {18, 60}) {
    canvas.fill({x, y + 6, x + 20, y + 8}, ink);
    for (int t = 0; t < 5; ++t) {
      const int tip = rightwards ? x + 19 - t : x + t;
      canvas.fill({tip, y + 6 - t, tip + 1, y + 8 + t}, ink);
    }
    s.object({x, y, x + 20, y + patch}, rightwards ? "arrow right" : "arrow left");
  }

  s.describe(chain[1] + " eats " + chain[0] + " , " + chain[2] + " eats " + chain[1]);
  for (std::size_t i = 0; i < 2; ++i) {
    const Slots slots{{"prey", chain[i]}, {"eater", chain[i + 1]}};
    for (const char* question : {"eats", "eaten", "t_eats", "t_eaten"}) s.ask(question, slots);
  }
}

// The slope falls by 2 in 5, from the left edge or from the right one.
void draw_ramp(SceneBuilder& s) {
  Canvas& canvas = s.begin(4 * cell, 3 * cell);
  const int w = canvas.width(), h = canvas.height();
  const bool leftwards = s.draws.percent(50), large = s.draws.percent(50);
  canvas.paint({0, 0, w, h}, {130, 130, 130},
               [&](int x, int y) { return 5 * (y - cell) > 2 * (leftwards ? w - 1 - x : x); });
  const int size = large ? 26 : patch, along = s.draws.between(6, 40);
  const int x = leftwards ? w - size - along : along, y = std::max(0, cell + 2 * along / 5 - size + 1);
  const std::string color = s.draws.pick(s.world.colors), direction = leftwards ? "left" : "right";
  canvas.draw(ShapeKind::circle, x, y, size, s.tint(color));
  const std::string ball = std::string(large ? "large " : "small ") + color;
  s.object({x, y, x + size, y + size}, ball + " circle");
  s.object({0, 0, w, h}, "ramp to the " + direction);

  s.describe(ball + " ball rolls " + direction);
  s.ask("rolls", {{"direction", direction}});
  s.ask("ball_color", {{"color", color}});
}

void draw_circuit(SceneBuilder& s) {
  Canvas& canvas = s.begin(4 * cell, 3 * cell);
  const bool closed = s.draws.percent(60);
  const int batteries = s.draws.between(1, 4);
  const std::string color = closed ? s.draws.pick(s.world.colors) : "off";
  const Color background = canvas.at(0, 0);
  canvas.fill({14, 20, 98, 22}, ink);
  canvas.fill({14, 62, 98, 64}, ink);
  canvas.fill({14, 20, 16, 64}, ink);
  canvas.fill({96, 20, 98, 64}, ink);

  canvas.fill({38, 18, 62, 24}, background);
  if (closed) canvas.fill({36, 20, 64, 22}, ink);
  else
    for (int t = 0; t < 24; ++t) canvas.fill({38 + t, 20 - t / 2, 39 + t, 22 - t / 2}, ink);
  s.object({38, 4, 64, 24}, closed ? "closed switch" : "open switch");

  canvas.draw(ShapeKind::circle, 44, 51, 26, ink);
  canvas.draw(ShapeKind::circle, 50, 57, patch, closed ? s.tint(color) : Color{90, 90, 90});
  s.object({44, 51, 70, 77}, closed ? color + " lamp" : "lamp off");

  for (int i = 0; i < batteries; ++i) {
    const int y = 24 + 9 * i;
    canvas.fill({9, y, 21, y + 4}, {200, 60, 60});
    canvas.fill({9, y + 4, 21, y + 7}, ink);
  }
  s.object({9, 24, 21, 22 + 9 * batteries}, "batteries " + digits(batteries));

  s.describe(cat("circuit ", closed ? "closed" : "open", " , batteries ", batteries, " , lamp ", color));
  s.ask("lamp", {{"color", color}});
  s.ask("switch", {{"state", closed ? "closed" : "open"}});
  s.ask("batteries", {{"n", digits(batteries)}});
}

}  // namespace ov::synth
