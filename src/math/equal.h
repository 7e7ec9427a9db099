// Whether an answer is the gold, as far as school mathematics goes: numbers, fractions, roots, π, letters, tuples,
// intervals, sets, "x = 5" for 5. Facts of comparison are those of math_verify 0.9: a number with a point equals what
// rounds to the same six decimals (0.333333 is 1/3), 50% is 0.5 and beside a whole number 9% is 9, an equation counts
// by its right side unless the gold is one.
#pragma once
#include <string>
#include <string_view>

#include "math/expression.h"

namespace ov::math {

enum class Level {
  whole,  // the text itself must be an expression; $...$ and \boxed{...} around it are taken off
  last  // as math_verify looks into prose: \boxed{...}, $...$, a \frac of numbers, or the last number or sum of numbers
};

// The expression of a text at that level, as text; "" where there is none.
std::string expression_text(std::string_view text, Level level);

enum class Verdict { equal, different, unknown };  // unknown: one side is nothing that this room can read
Verdict compare(std::string_view gold, std::string_view answer, Level level = Level::last);
inline bool math_equal(std::string_view gold, std::string_view answer, Level level = Level::last) {
  return compare(gold, answer, level) == Verdict::equal;
}
bool same(const Expression& gold, const Expression& answer);

}  // namespace ov::math
