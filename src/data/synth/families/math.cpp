// Sums and differences of one-digit numbers, alone and inside a program of two lines. Answers write the sum out:
// "7 + 2 = 9" is learned where "9" alone is not.
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

struct Sum {
  int a, b;
  bool plus;

  std::string drawn() const { return std::to_string(a) + (plus ? "+" : "-") + std::to_string(b); }
  std::string solved() const { return spaced(drawn()) + " = " + digits(plus ? a + b : a - b); }
};

// 1..9 plus 1..9, or 1..9 minus at most itself.
Sum random_sum(Draws& draws) {
  const bool plus = draws.percent(60);
  const int a = draws.between(1, 9);
  return {a, plus ? draws.between(1, 9) : draws.between(0, a), plus};
}

}  // namespace

std::pair<std::string, std::string> arithmetic_line(Draws& draws) {
  const Sum sum = random_sum(draws);
  return {spaced(sum.drawn()) + " =", digits(sum.plus ? sum.a + sum.b : sum.a - sum.b)};
}

void draw_formula(SceneBuilder& s) {
  const int rows = s.draws.between(1, 2);
  s.begin(4 * cell, rows * cell);
  const Sum sum = random_sum(s.draws);
  const int y = patch * s.draws.below(2 * rows);
  s.write(sum.drawn() + "=", 0, y, ink);
  s.text({0, y, 5 * patch, y + patch}, sum.drawn());
  s.text_of_each(sum.drawn(), 0, y);
  s.describe("formula " + spaced(sum.drawn()));

  const std::string first = digits(sum.a), second = digits(sum.b);
  s.ask("result", {{"sum", sum.solved()}});
  s.ask("operation", {{"operation", sum.plus ? "plus" : "minus"}});
  s.ask("first_number", {{"value", first}});
  s.ask("second_number", {{"value", second}});
  s.ask("t_first", {{"value", first}});
  s.ask("t_second", {{"value", second}});
  s.ask("t_result", {{"sum", sum.solved()}});
}

// A=5
// B=A+3
void draw_program(SceneBuilder& s) {
  s.begin(5 * cell, 2 * cell);
  const Words names = s.draws.sample(s.world.row_letters, 2);
  const Sum sum = random_sum(s.draws);
  const std::string code = names[0] + (sum.plus ? "+" : "-") + std::to_string(sum.b);
  const Words lines{names[0] + "=" + std::to_string(sum.a), names[1] + "=" + code};
  for (int i = 0; i < 2; ++i) {
    const std::string& line = lines[static_cast<std::size_t>(i)];
    const int y = cell * i + s.draws.between(0, 1);
    s.write(line, 0, y, ink);
    s.text({0, y, cell * static_cast<int>(line.size()) - patch, y + patch}, line);
    s.text_of_each(line, 0, y);
  }
  s.describe("code " + spaced(lines[0]) + " , " + spaced(lines[1]));

  const Slots given{{"variable", names[0]}, {"value", digits(sum.a)}};
  const Slots computed{{"variable", names[1]}, {"sum", sum.solved()}, {"code", spaced(code)}};
  s.ask("variable_value", given);
  s.ask("variable_sum", computed);
  s.ask("output", computed);
  s.ask("second_line", computed);
  s.ask("t_variable", given);
  s.ask("t_variable_sum", computed);
}

}  // namespace ov::synth
