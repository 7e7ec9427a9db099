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
#include <array>
#include <initializer_list>
#include <string_view>

#include "tensor/tensor.h"

namespace ov::kernels {

// clang 14 puts the members of what such a constructor makes in wrong places, and takes patterns apart at run time.
#ifdef __clang__
#define OV_COMPILED constexpr
#else
#define OV_COMPILED consteval
#endif

// A pattern, taken apart when the program is compiled: every call of every kernel comes by here. A misspelt one does
// not compile.
struct Pattern {
  OV_COMPILED Pattern(const char* pattern);  // NOLINT: a literal stands for one

  const char* text;
  int axes = 0;
  std::array<std::int64_t, Shape::max_rank> axis{};  // a length, or minus the letter
  enum class Type { first, accumulated, either, named } type = Type::first;
  Dtype dtype{};  // of Type::named
  bool optional = false, flat = false;
};

struct Argument {
  const char* name;
  const Tensor& tensor;
  Pattern pattern;
};

// Throws input_error: op, argument, expected pattern, what came. All tensors must be on one device.
void check(const char* op, std::initializer_list<Argument> arguments);

OV_COMPILED Pattern::Pattern(const char* pattern) : text(pattern) {
  std::string_view left = pattern;
  if (left.ends_with('?')) optional = true, left.remove_suffix(1);
  if (left.ends_with('!')) flat = true, left.remove_suffix(1);
  if (const auto colon = left.find(':'); colon != left.npos) {
    const std::string_view name = left.substr(colon + 1);
    left = left.substr(0, colon);
    type = name == "acc" ? Type::accumulated : name == "out" ? Type::either : Type::named;
    bool found = type != Type::named;
    for (const Dtype d : {Dtype::f64, Dtype::f32, Dtype::bf16, Dtype::i64, Dtype::i32, Dtype::u8})
      if (type == Type::named && name == name_of(d)) dtype = d, found = true;
    if (!found) throw "no element type of this name";
  }
  while (!left.empty()) {
    const auto space = left.find(' ');
    const std::string_view word = left.substr(0, space);
    std::int64_t length = 0;
    for (const char c : word)
      if (c >= '0' && c <= '9') length = 10 * length + (c - '0');
      else if (word.size() == 1 && c >= 'A' && c <= 'Z') length = -c;
      else throw "an axis is a capital letter or a number";
    axis.at(static_cast<std::size_t>(axes++)) = length;
    left = space == left.npos ? std::string_view{} : left.substr(space + 1);
  }
  flat = flat || axes == 1;
}

#undef OV_COMPILED

}  // namespace ov::kernels
