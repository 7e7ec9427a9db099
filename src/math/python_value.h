// LaTeX as a number of Python: what SymPy prints of it, evaluated where no name is known.
#pragma once
#include "math/latex.h"

namespace ov::math {

// Whole numbers stay whole.
struct PythonNumber {
  bool whole = false;
  __int128 n = 0;  // of a whole one
  double x = 0;
  double as_double() const { return whole ? static_cast<double>(n) : x; }
};

// Unreadable for what has a name (pi, e, x, sqrt, a function), and where Python raises or the original refuses: a
// division by zero, a power or a number that is too large.
PythonNumber python_value(const E& e);
PythonNumber python_value(View latex);  // all of it

}  // namespace ov::math
