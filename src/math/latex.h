// LaTeX as answers write it: first put into a normal form, then read. Both follow latex2sympy2_extended, which the
// original uses: what that refuses is refused here (\frac83 before the repairs, a lone %, "8.").
#pragma once
#include "math/value.h"
#include "text/python.h"

namespace ov::math {

using namespace python;

struct Normal {
  bool repairs = false;   // units go, malformed fractions and roots are mended: what math_verify asks for
  bool last_box = false;  // of several \boxed{..} the last ones, else all of them
};
Text normal_latex(View latex, const Normal& options);

constexpr int most_operators = 2000;  // of one text, factors side by side among them: more are Unreadable
Value read_latex(View normal);        // Unreadable

// 8*3, 3/14, 2**3, (1+2)/3: arithmetic as Python writes it, ^ for **. Unreadable for anything else.
E read_arithmetic(View text);

}  // namespace ov::math
