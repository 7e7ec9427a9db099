// Answers against what was asked for: pure functions, one row of a table each.
//
//   exact      equal after normalise()                                               0 or 1
//   number     both are the same decimal number: 7, 07 and 7.0                        0 or 1
//   iou        boxes "x1 , y1 , x2 , y2" whose intersection is at least half of       0 or 1
//              their union (the usual IoU >= 0.5 of grounding)
//   phrase_f1  multiset F1 over the phrases between commas, each compared as a        0 .. 1
//              whole after normalise(): 2 matched / (stated + true)
//   answer_block  what the last <answer>...</answer> holds is equal after normalise() 0 or 1
//
// A category's accuracy is the mean of its questions' scores.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ov {

// Lower case (ASCII letters; others stay), no white space at the ends, single blanks within.
std::string normalise(std::string_view text);

struct Scorer {
  std::string_view name;
  double (*score)(std::string_view prediction, std::string_view answer);
  // Whether a question with this answer can be scored at all: a box for iou, a number for number, otherwise some text.
  bool (*takes)(std::string_view answer);
};

const std::vector<Scorer>& scorers();
// input_error that begins with `where` and names the nearest scorer when there is none of that name.
const Scorer& scorer_named(std::string_view name, const std::string& where);

}  // namespace ov
