// Coloured shapes on the lattice, one per cell: colour, shape, place, size, boxes, counts; or asked for counts alone.
// 8 colours x 6 shapes x 2 sizes.
#include <map>

#include "data/synth/builder.h"

namespace ov::synth {

namespace {

struct Object {
  std::string color, shape, size, place;
  Rect box;

  std::string described() const { return place + " " + size + " " + color + " " + shape; }
};

using Objects = std::vector<Object>;
using Groups = std::map<std::string, std::vector<const Object*>>;

// few: 1-4 objects, each colour-shape pair once. matching: 3-5, mostly all shapes and all colours different, so that
// one attribute must be found by the other. counting: 2-6 of at most three colours and three shapes.
enum class Kind { few, matching, counting };

struct Look {
  std::string color, shape;
  bool operator==(const Look&) const = default;
};

std::vector<Look> choose_looks(SceneBuilder& s, Kind kind, int n) {
  Draws& draws = s.draws;
  Words colors = s.world.colors, shapes = s.world.shapes;
  if (kind == Kind::counting) {
    colors = draws.sample(colors, draws.between(1, 3));
    shapes = draws.sample(shapes, draws.between(1, 3));
  }
  const bool distinct_colors = kind == Kind::matching && draws.percent(70);
  const bool distinct_shapes = kind == Kind::matching && draws.percent(60);
  draws.shuffle(colors);
  draws.shuffle(shapes);
  std::vector<Look> looks;
  while (static_cast<int>(looks.size()) < n) {
    const std::size_t i = looks.size();
    const Look look{distinct_colors ? colors[i] : draws.pick(colors), distinct_shapes ? shapes[i] : draws.pick(shapes)};
    if (kind == Kind::counting || std::find(looks.begin(), looks.end(), look) == looks.end()) looks.push_back(look);
  }
  return looks;
}

Object place_object(SceneBuilder& s, const Look& look, int column, int row) {
  const bool large = s.draws.percent(50);
  const Rect box = draw_shape(s, look.color, look.shape, large, column, row);
  return {look.color, look.shape, large ? "large" : "small", place(box, s.canvas().width(), s.canvas().height()), box};
}

void ask_about_each(SceneBuilder& s, const Objects& objects) {
  Groups by_color, by_shape, by_place, by_look;
  for (const Object& o : objects) {
    by_color[o.color].push_back(&o);
    by_shape[o.shape].push_back(&o);
    by_place[o.place].push_back(&o);
    by_look[o.color + " " + o.shape].push_back(&o);
  }
  for (const Object& o : objects) {
    const Slots slots{
        {"color", o.color}, {"shape", o.shape}, {"size", o.size}, {"place", o.place}, {"box", box_answer(o.box)}};
    if (by_shape[o.shape].size() == 1) {
      s.ask("color", slots);
      s.ask("t_color_of", slots);
    }
    if (by_color[o.color].size() == 1) {
      s.ask("shape", slots);
      s.ask("t_shape_of", slots);
      s.ask("t_color", slots);
    }
    if (by_place[o.place].size() == 1) {
      s.ask("at", slots);
      s.ask("t_place", slots);
    }
    if (by_look[o.color + " " + o.shape].size() == 1) {
      s.ask("where", slots);
      s.ask("size", slots);
      s.ask("box", slots);
      s.ask("t_box", slots);
    }
  }
}

// Yes: a pair that is there. No: one that differs from an object in colour or in shape only.
void ask_whether_exists(SceneBuilder& s, const Objects& objects) {
  const auto there = [&](const Look& look) {
    return std::any_of(objects.begin(), objects.end(),
                       [&](const Object& o) { return o.color == look.color && o.shape == look.shape; });
  };
  const Object& o = s.draws.pick(objects);
  Look look{o.color, o.shape};
  const bool yes = s.draws.percent(50);
  while (!yes && there(look)) {
    look = {o.color, o.shape};
    if (s.draws.percent(50)) look.shape = s.draws.pick(s.world.shapes);
    else look.color = s.draws.pick(s.world.colors);
  }
  s.ask("exists", {{"color", look.color}, {"shape", look.shape}, {"answer", yes ? "yes" : "no"}});
}

void ask_counts(SceneBuilder& s, const Objects& objects) {
  std::map<std::string, int> by_color, by_shape;
  for (const Object& o : objects) {
    ++by_color[o.color];
    ++by_shape[o.shape];
  }
  s.ask("count", {{"n", digits(static_cast<int>(objects.size()))}});
  for (const auto& [color, n] : by_color) {
    s.ask("count_color", {{"color", color}, {"n", digits(n)}});
    s.ask("t_count", {{"what", color}, {"n", digits(n)}});
  }
  for (const auto& [shape, n] : by_shape) {
    s.ask("count_shape", {{"shape", shape}, {"n", digits(n)}});
    s.ask("t_count", {{"what", shape}, {"n", digits(n)}});
  }
}

Objects draw_objects(SceneBuilder& s, Kind kind) {
  const int n = kind == Kind::few        ? s.draws.between(1, 4)
                : kind == Kind::matching ? s.draws.between(3, 5)
                                         : s.draws.between(2, 6);
  const int columns = 4, rows = s.draws.between(2, 4);
  s.begin(columns * cell, rows * cell);
  std::vector<int> cells = s.draws.distinct(n, columns * rows);
  std::sort(cells.begin(), cells.end());  // described in reading order
  const std::vector<Look> looks = choose_looks(s, kind, n);

  Objects objects;
  Words described;
  for (std::size_t i = 0; i < looks.size(); ++i) {
    objects.push_back(place_object(s, looks[i], cells[i] % columns, cells[i] / columns));
    const Object& o = objects.back();
    described.push_back(o.described());
    s.object(o.box, o.size + " " + o.color + " " + o.shape);
  }
  s.describe(join(described, " , "));
  return objects;
}

}  // namespace

Rect draw_shape(SceneBuilder& s, const std::string& color, const std::string& shape, bool large, int column, int row) {
  Draws& draws = s.draws;
  Canvas& canvas = s.canvas();
  const int size = large ? 26 : patch;
  int x = column * cell, y = row * cell;
  if (large) {
    x += draws.between(0, 2);
    y += draws.between(0, 2);
  } else {
    x = std::clamp(x + draws.lattice(patch, 2, -1, 1), 0, canvas.width() - size);
    y = std::clamp(y + draws.lattice(patch, 2, -1, 1), 0, canvas.height() - size);
  }
  canvas.draw(shape_of(shape), x, y, size, s.tint(color));
  return {x, y, x + size, y + size};
}

void draw_shapes(SceneBuilder& s) {
  static const std::vector<int> kWeights{10, 45, 45};
  const Kind kind = static_cast<Kind>(s.draws.weighted(kWeights));
  const Objects objects = draw_objects(s, kind);
  ask_about_each(s, objects);
  ask_whether_exists(s, objects);
  if (kind == Kind::counting) ask_counts(s, objects);
}

void draw_counts(SceneBuilder& s) { ask_counts(s, draw_objects(s, Kind::counting)); }

}  // namespace ov::synth
