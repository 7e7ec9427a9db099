// What a family of scenes writes into while it is drawn: the canvas, the regions, the description and the turns.
#pragma once
#include <optional>
#include <string>

#include "data/synth/draws.h"
#include "data/synth/scene.h"

namespace ov::synth {

inline constexpr int cell = 28;   // pixels of one merged patch: objects and characters stand on this lattice
inline constexpr int patch = 14;  // pixels of one patch, the unit of boxes in answers

class SceneBuilder {
 public:
  SceneBuilder(const ToyWorld& toy, Draws& random) : world(toy.world), draws(random), catalog_(toy.catalog) {}

  const World& world;
  Draws& draws;

  // An empty picture, grey unless a colour is given.
  Canvas& begin(int width, int height);
  Canvas& begin(int width, int height, Color background);
  Canvas& canvas() { return *canvas_; }

  void object(Rect box, const std::string& label) { regions_.push_back({box, label, false}); }
  void text(Rect box, const std::string& string) { regions_.push_back({box, string, true}); }
  // Characters one per cell from the top left corner (x, y), each up to `jitter` pixels further right.
  void write(const std::string& string, int x, int y, Color color, int advance = cell, int jitter = 2);
  // A text region for every character that write() placed.
  void text_of_each(const std::string& string, int x, int y);

  // The dense caption; also asks for it. Called once, before any other question.
  void describe(const std::string& caption);
  void ask(std::string_view id, const Slots& slots);

  Color tint(const std::string& color) { return near(world.color(color), draws); }
  Scene finish(const std::string& family, std::uint64_t seed, std::string_view noise, std::uint64_t index);
  const std::string& description() const { return description_; }

 private:
  const Catalog& catalog_;
  std::optional<Canvas> canvas_;
  std::string description_;
  std::vector<Exchange> turns_;
  std::vector<Region> regions_;
};

inline constexpr Color ink{20, 20, 20};

std::string digits(int n);                 // "5 0"
std::string spaced(const std::string& s);  // "A B C"
std::string join(const Words& words, const std::string& between = " ");
// "x1 , y1 , x2 , y2" in patches, rounded to the nearest.
std::string box_answer(Rect box);
// "top left" .. "bottom right": the third of the picture that holds the box's centre.
std::string place(Rect box, int width, int height);
std::string place_across(Rect box, int width);  // "left", "center" or "right"

// A shape in a cell: a large one fills it up to 2 pixels of jitter; a small one one of its four patches, up to 1.
Rect draw_shape(SceneBuilder&, const std::string& color, const std::string& shape, bool large, int column, int row);

// "7 + 2 =" and "9".
std::pair<std::string, std::string> arithmetic_line(Draws& draws);

// The families, one or more per file of families/.
void draw_shapes(SceneBuilder&);
void draw_text(SceneBuilder&);
void draw_bars(SceneBuilder&);
void draw_table(SceneBuilder&);
void draw_formula(SceneBuilder&);
void draw_program(SceneBuilder&);
void draw_sign(SceneBuilder&);
void draw_card(SceneBuilder&);
void draw_chess(SceneBuilder&);
void draw_thermometer(SceneBuilder&);
void draw_beaker(SceneBuilder&);
void draw_food_chain(SceneBuilder&);
void draw_ramp(SceneBuilder&);
void draw_circuit(SceneBuilder&);
void draw_values(SceneBuilder&);
void draw_three_lines(SceneBuilder&);
void draw_checked_lines(SceneBuilder&);
void draw_counts(SceneBuilder&);

}  // namespace ov::synth
