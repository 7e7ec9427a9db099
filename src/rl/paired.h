// Two models asked the same questions: by how much the second is better, with the standard error of the paired
// difference. From predictions.jsonl of `eval`, or the directory that it wrote; several pairs (starts, seeds) are
// pooled, question by question.
//
//   d_i = score_i of the second - score_i of the first       mean d, standard error sqrt(Σ (d - mean)² / (n - 1) / n)
//
// n counts answers: where pairs are pooled, the answers of several seeds to one question count as independent, which
// they are not. Their errors go together, and the true error is larger.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ov::rl {

struct Paired {
  std::int64_t questions = 0;
  double before = 0, after = 0;  // mean scores
  double error = 0;              // of after - before; 0 where there is one question
};

// By "category", by "category, template" and, when there are several, by "all categories". input_error for lists of
// other lengths, and for two files that do not answer the same questions.
std::map<std::string, Paired> paired_scores(const std::vector<std::string>& before,
                                            const std::vector<std::string>& after);

}  // namespace ov::rl
