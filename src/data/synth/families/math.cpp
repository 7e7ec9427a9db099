// Sums and differences of one-digit numbers, alone and inside a program of two or three lines. Answers write the sum
// out: "7 + 2 = 9" is learned where "9" alone is not.
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

struct Sum {
  int a, b;
  bool plus;

  std::string drawn() const { return std::to_string(a) + (plus ? "+" : "-") + std::to_string(b); }
  int value() const { return plus ? a + b : a - b; }
  std::string solved() const { return spaced(drawn()) + " = " + digits(value()); }
};

// 1..9 plus 1..9, or 1..9 minus at most itself.
Sum random_sum(Draws& draws) {
  const bool plus = draws.percent(60);
  const int a = draws.between(1, 9);
  return {a, plus ? draws.between(1, 9) : draws.between(0, a), plus};
}

// Gives its variable a number, or a sum or difference with the variable of the line above.
struct Line {
  std::string name, code, solved;  // "B", "A+3", "5 + 3 = 8"; of a first line "A", "5", "5"
  int value;
};
using Program = std::vector<Line>;

Line first_line(const std::string& name, int value) { return {name, std::to_string(value), digits(value), value}; }

Line next_line(const Line& above, const std::string& name, const Sum& sum) {
  return {name, above.name + (sum.plus ? "+" : "-") + std::to_string(sum.b), sum.solved(), sum.value()};
}

Program two_lines(SceneBuilder& s) {
  s.begin(5 * cell, 2 * cell);
  const Words names = s.draws.sample(s.world.row_letters, 2);
  const Sum sum = random_sum(s.draws);
  const Line first = first_line(names[0], sum.a);
  return {first, next_line(first, names[1], sum)};
}

void write_and_describe(SceneBuilder& s, const Program& program) {
  Words described;
  for (const Line& line : program) {
    const std::string drawn = line.name + "=" + line.code;
    const int top = cell * static_cast<int>(described.size());
    const int y = top + s.draws.between(0, 1);
    s.write(drawn, 0, y, ink);
    s.text({0, y, cell * static_cast<int>(drawn.size()) - patch, y + patch}, drawn);
    s.text_of_each(drawn, 0, y);
    described.push_back(spaced(drawn));
  }
  s.describe("code " + join(described, " , "));
}

// One question for each template: the value of the first line's variable, of the second's, ... The answer first works
// out every line from top to bottom, whichever is asked for: only then need it be known on which line that one stands.
// A chain that checks says "yes" behind the name that is asked for, as soon as it comes by.
void ask_to_think(SceneBuilder& s, const Program& program, const std::vector<const char*>& templates,
                  bool checks = false) {
  for (std::size_t i = 0; i < program.size(); ++i) {
    Words chain;
    for (const Line& line : program)
      chain.push_back(line.name + (checks && &line == &program[i] ? " yes = " : " = ") + line.solved);
    s.ask(templates[i],
          {{"variable", program[i].name}, {"chain", join(chain, " , ")}, {"value", digits(program[i].value)}});
  }
}

Program three_lines(SceneBuilder& s) {
  s.begin(5 * cell, 3 * cell);
  const Words names = s.draws.sample(s.world.row_letters, 3);
  const auto sum_with = [&](int a) {
    const bool plus = s.draws.percent(50);
    return Sum{a, s.draws.between(1, 9), plus};
  };
  Sum second{}, third{};
  do {
    second = sum_with(s.draws.between(1, 9));
    third = sum_with(second.value());
  } while (second.value() < 1 || second.value() > 9 || third.value() < 0);
  Program program{first_line(names[0], second.a)};
  program.push_back(next_line(program[0], names[1], second));
  program.push_back(next_line(program[1], names[2], third));
  return program;
}

}  // namespace

std::pair<std::string, std::string> arithmetic_line(Draws& draws) {
  const Sum sum = random_sum(draws);
  return {spaced(sum.drawn()) + " =", digits(sum.value())};
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
  const Program program = two_lines(s);
  write_and_describe(s, program);

  const Line &first = program[0], &second = program[1];
  const Slots given{{"variable", first.name}, {"value", first.solved}};
  const Slots computed{{"variable", second.name}, {"sum", second.solved}, {"code", spaced(second.code)}};
  s.ask("variable_value", given);
  s.ask("variable_sum", computed);
  s.ask("output", computed);
  s.ask("second_line", computed);
  s.ask("t_variable", given);
  s.ask("t_variable_sum", computed);
}

// The same picture, asked for nothing but the variables' values.
void draw_values(SceneBuilder& s) {
  const Program program = two_lines(s);
  write_and_describe(s, program);
  s.ask("variable_value", {{"variable", program[0].name}, {"value", program[0].solved}});
  s.ask("variable_sum", {{"variable", program[1].name}, {"sum", program[1].solved}});
  ask_to_think(s, program, {"think", "think"});
}

// A=5
// B=A+3
// C=B-2
void draw_three_lines(SceneBuilder& s) {
  const Program program = three_lines(s);
  write_and_describe(s, program);
  const char* const values[] = {"three_first", "three_middle", "three_last"};
  for (std::size_t i = 0; i < 3; ++i) s.ask(values[i], {{"variable", program[i].name}, {"sum", program[i].solved}});
  ask_to_think(s, program, {"think_first", "think_middle", "think_last"});
}

// A program of either length, asked with chains that check.
void draw_checked_lines(SceneBuilder& s) {
  const Program program = s.draws.percent(50) ? three_lines(s) : two_lines(s);
  write_and_describe(s, program);
  ask_to_think(s, program, {"check", "check", "check"}, true);
}

}  // namespace ov::synth
