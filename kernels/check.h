// The one door of every kernel: shapes and element types are checked here, once, before any device's code runs.
//
// A pattern names the axes by single letters ("T H D"); a letter means the same length everywhere in one call, a number
// means itself. When the first letter is N, all leading axes are multiplied together ("N C" takes [T,H,D] as T*H rows).
// After a colon comes the element type, else it is that of the first argument:
//   "C:acc"  what sums of that type are kept in (f64 for f64, else f32)
//   "C:out"  either of the two
//   "N:i64"  as named
// A trailing '?' lets the argument be null. A tensor of one axis must be contiguous, for kernels index it flat; a
// trailing '!' demands it of others (before the '?').
#pragma once
#include <initializer_list>

#include "tensor/tensor.h"

namespace ov::kernels {

struct Argument {
  const char* name;
  const Tensor& tensor;
  const char* pattern;
};

// Throws input_error: op, argument, expected pattern, what came. All tensors must be on one device.
void check(const char* op, std::initializer_list<Argument> arguments);

}  // namespace ov::kernels
