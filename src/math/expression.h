// A mathematical answer as people and models write it, LaTeX or plain: 3/4, \frac{3}{4}, 2\sqrt{3}, 1,200, 50\%,
// x = 5, (0, 1], \{1, 2\}, 1 and 2.
#pragma once
#include <string_view>
#include <vector>

#include "math/exact.h"

namespace ov::math {

struct Expression {
  enum class Kind { number, set, row };  // row: tuple or interval, with its brackets
  Kind kind = Kind::number;
  Exact number;
  std::vector<Expression> items = {};
  char open = 0, close = 0;

  // How it was written.
  bool named = false;       // with letters, roots or π
  bool decimal = false;     // one number with a point
  bool divided = false;     // Python would make a float of it
  bool percent = false;     // one number and a percent sign; `number` is the hundredth part
  bool equation = false;    // "left = right"; the rest describes the right side
  bool assignment = false;  // and the left side is a letter
};

// No value where the text, all of it, is no such expression or leaves what Exact holds.
std::optional<Expression> parse_expression(std::string_view text);

}  // namespace ov::math
