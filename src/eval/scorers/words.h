// Comparisons of texts that several tasks share.
#pragma once
#include "eval/scorers/task.h"

namespace ov::public_tasks {

std::size_t levenshtein(View a, View b);  // in code points

// 1 - the least edit distance / length of the longer text in capitals; 0 below the threshold.
double anls(const std::vector<Text>& references, const Text& prediction, double threshold);

struct ExactMatch {
  bool ignore_case = false, ignore_punctuation = false, ignore_numbers = false;  // ASCII's, of the last two
  std::vector<python::Regex> ignore = {};                                        // what these match is deleted first
};
bool exact_match(Text prediction, Text reference, const ExactMatch& options);

}  // namespace ov::public_tasks
