// What math_verify reads out of a text: a letter, a piece of LaTeX or an expression, by patterns in order of priority.
#pragma once
#include "math/latex.h"

namespace ov::math {

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
// letters: a lone letter is a reading, as where choices are asked for.
Reading read(View text, bool letters = true);

// Whether anything of `a` equals anything of `b`; a is what the original takes for the gold answer.
bool equal(const Reading& a, const Reading& b);

// The same of two texts, without letters. unknown: not equal, and one of them holds what this room cannot read.
enum class Verdict { equal, different, unknown };
Verdict compare(View gold, View answer);

}  // namespace ov::math
