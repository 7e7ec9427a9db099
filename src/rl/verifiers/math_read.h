// What math_verify reads out of a text: a letter, a piece of LaTeX or an expression, by patterns in order of priority.
#pragma once
#include "rl/verifiers/math_latex.h"

namespace ov::rl::math {

// A letter counts as a text by itself ("a"), and beside the value stands the text that it was read from.
struct Reading {
  std::optional<Text> letter;
  std::optional<Value> value;
  Text text;  // of the first match, readable or not; empty when there was none
};

// Within one priority the match that ends last wins; the first priority with something readable ends the search.
//   0 "final answer is .. I hope"   50 \boxed{..}, "final answer .. is"   100 "answer: .."   200 "answer .."
//   250 a letter at the start   300 anything
// LaTeX is recognised inside $..$, $$..$$, \(..\), \[..\], or as a bare \frac{a}{b} of numbers.
Reading read(View text);

// Whether anything of `a` equals anything of `b`; a is what the original takes for the gold answer.
bool equal(const Reading& a, const Reading& b);

}  // namespace ov::rl::math
