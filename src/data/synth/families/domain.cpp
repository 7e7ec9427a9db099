// Road signs, playing cards and chess boards.
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

constexpr int kSign = 42;  // three patches
constexpr Color kWhite{250, 250, 250};

// A sign's face. u and v count half pixels from its centre, -41 to 41.
void paint_sign(SceneBuilder& s, const std::string& meaning, int x, int y) {
  const Color red = near({210, 25, 25}, s.draws), blue = near({30, 70, 200}, s.draws);
  const auto paint = [&](Color color, auto in) {
    s.canvas().paint({x, y, x + kSign, y + kSign}, color,
                     [&](int px, int py) { return in(2 * px - (kSign - 1), 2 * py - (kSign - 1), py); });
  };
  const auto disc = [&](Color color, int radius) {
    paint(color, [&](int u, int v, int) { return u * u + v * v <= 4 * radius * radius; });
  };

  if (meaning == "stop") {
    paint(red, [](int u, int v, int) { return std::abs(u) + std::abs(v) <= 57; });
    s.canvas().draw(s.world.character("S"), x + 16, y + patch, kWhite);
  } else if (meaning == "yield") {
    paint(red, [](int u, int, int py) { return std::abs(u) <= kSign - py; });
    paint(kWhite, [](int u, int, int py) { return std::abs(u) <= kSign - py - 18 && py > 5; });
  } else if (meaning == "no entry") {
    disc(red, kSign / 2);
    paint(kWhite, [](int u, int v, int) { return std::abs(u) < 30 && std::abs(v) < 10; });
  } else {  // an arrow: shaft and head along +u, turned to the left, to the right or upwards
    disc(blue, kSign / 2);
    paint(kWhite, [&](int u, int v, int) {
      if (meaning == "turn left") u = -u;
      if (meaning == "go straight") {
        std::swap(u, v);
        u = -u;
      }
      return (std::abs(v) < 6 && u > -28 && u < 10) || (u >= 6 && u < 30 && std::abs(v) < 30 - u);
    });
  }
}

void paint_limit(SceneBuilder& s, const std::string& limit, int x, int y) {
  const Color red = near({210, 25, 25}, s.draws);
  s.canvas().draw(ShapeKind::circle, x, y, kSign, red);
  s.canvas().draw(ShapeKind::circle, x + 6, y + 6, kSign - 12, kWhite);
  s.write(limit, x + 8, y + patch, {10, 10, 10}, 13, 0);
}

// Where the pips of a card stand, [column 0..2, row 0..2], as on a die with two columns.
const std::vector<std::pair<int, int>>& pips(int number) {
  static const std::vector<std::vector<std::pair<int, int>>> kPips{{{1, 1}},
                                                                   {{1, 0}, {1, 2}},
                                                                   {{1, 0}, {1, 1}, {1, 2}},
                                                                   {{0, 0}, {2, 0}, {0, 2}, {2, 2}},
                                                                   {{0, 0}, {2, 0}, {1, 1}, {0, 2}, {2, 2}},
                                                                   {{0, 0}, {2, 0}, {0, 1}, {2, 1}, {0, 2}, {2, 2}}};
  return kPips[static_cast<std::size_t>(number - 1)];
}

}  // namespace

void draw_sign(SceneBuilder& s) {
  Canvas& canvas = s.begin(4 * cell, 3 * cell);
  const int x = std::clamp(s.draws.lattice(patch, 6, -1, 1), 0, canvas.width() - kSign);
  const int y = std::clamp(s.draws.lattice(patch, 4, -1, 1), 0, canvas.height() - kSign);
  const Rect box{x, y, x + kSign, y + kSign};
  std::string meaning, limit;
  if (s.draws.percent(40)) {
    limit = std::to_string(10 * s.draws.between(2, 9));
    meaning = "speed limit " + spaced(limit);
    paint_limit(s, limit, x, y);
    s.object(box, "speed limit sign");
    s.text({x + 8, y + patch, x + 34, y + 2 * patch}, limit);
  } else {
    meaning = s.draws.pick(s.world.signs);
    paint_sign(s, meaning, x, y);
    s.object(box, meaning + " sign");
  }
  const std::string where = place(box, canvas.width(), canvas.height());
  s.describe(where + " traffic sign " + meaning);
  s.ask("sign", {{"meaning", meaning}});
  s.ask("sign_place", {{"place", where}});
  if (!limit.empty()) s.ask("limit", {{"limit", spaced(limit)}});
}

void draw_card(SceneBuilder& s) {
  Canvas& canvas = s.begin(3 * cell, 4 * cell, {20, 110, 60});
  canvas.fill({2, 2, 82, 110}, {248, 248, 248});
  const std::string suit = s.draws.pick(s.world.suits);
  const bool red = suit == "hearts" || suit == "diamonds";
  const Color color = near(red ? Color{215, 20, 30} : Color{15, 15, 15}, s.draws);
  const int number = s.draws.between(1, 6);
  static const int kX[] = {patch, 35, 4 * patch}, kY[] = {patch, 3 * patch, 6 * patch};
  int regions = 0;
  for (const auto& [column, row] : pips(number)) {
    const int x = kX[column] + s.draws.between(-1, 1), y = kY[row] + s.draws.between(-1, 1);
    canvas.draw(s.world.icon(suit), x, y, color);
    if (regions++ < 2) s.object({x, y, x + patch, y + patch}, suit);
  }
  s.object({0, 0, canvas.width(), canvas.height()}, "card " + digits(number));

  const Slots slots{{"number", digits(number)}, {"suit", suit}};
  s.describe("card " + digits(number) + " of " + suit);
  s.ask("card", slots);
  s.ask("suit", slots);
  s.ask("card_number", slots);
}

// Three columns and three or four rows on the lattice of the tables, row digits at the left. What a piece is and its
// colour are asked apart: the two-word answer was not learned.
void draw_chess(SceneBuilder& s) {
  const int rows = s.draws.between(3, 4), columns = 3;
  Canvas& canvas = s.begin(4 * cell, rows * cell);
  const Color light = near({215, 190, 150}, s.draws), dark = near({140, 95, 60}, s.draws);
  std::vector<Words> names(static_cast<std::size_t>(rows), Words(3, "-"));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c)
      canvas.fill({cell * (c + 1), cell * r, cell * (c + 2), cell * (r + 1)}, (r + c) % 2 == 0 ? dark : light);
    const Color blue = s.tint("blue");
    s.write(std::to_string(r + 1), 0, cell * r + s.draws.between(0, 1), blue);
    s.text({0, cell * r, cell, cell * (r + 1)}, std::to_string(r + 1));
  }

  struct Piece {
    int row, column;
    std::string kind, color;
  };
  std::vector<Piece> pieces;
  const int n = s.draws.between(3, 6), kinds = static_cast<int>(s.world.pieces.size());
  std::vector<int> cells = s.draws.distinct(n, rows * columns);
  std::sort(cells.begin(), cells.end());
  for (int at : cells) {
    const int r = at / columns, c = at % columns, x = cell * (c + 1), y = cell * r;
    const Piece piece{r, c, s.world.pieces[static_cast<std::size_t>(s.draws.below(kinds))],
                      s.draws.percent(50) ? "white" : "black"};
    const int right = s.draws.between(0, 2), down = s.draws.between(0, 2);
    canvas.draw(s.world.icon(piece.kind), x + right, y + down,
                piece.color == "white" ? Color{252, 252, 252} : Color{8, 8, 8});
    s.object({x, y, x + cell, y + cell}, piece.color + " " + piece.kind);
    names[static_cast<std::size_t>(r)][static_cast<std::size_t>(c)] = piece.kind;
    pieces.push_back(piece);
  }
  Words described;
  for (std::size_t r = 0; r < names.size(); ++r)
    described.push_back("row " + std::to_string(r + 1) + " " + join(names[r]));
  s.describe(join(described, " , "));

  for (const Piece& p : pieces) {
    const Slots slots{
        {"row", digits(p.row + 1)}, {"column", digits(p.column + 1)}, {"piece", p.kind}, {"color", p.color}};
    for (const char* question : {"piece", "piece_color", "t_piece", "t_piece_color"}) s.ask(question, slots);
  }
  for (std::size_t r = 0; r < names.size(); ++r)
    if (names[r] != Words(3, "-")) s.ask("piece_row", {{"row", std::to_string(r + 1)}, {"pieces", join(names[r])}});
}

}  // namespace ov::synth
