// Two models asked the same questions: by how much the second is better, with the standard error of the paired
// difference. From predictions.jsonl of `eval`, or the directory that it wrote; several pairs (starts, seeds) are
// pooled, question by question.
//
//   d_i = score_i of the second - score_i of the first, N of them; mean d
//   standard error sqrt(Q / (Q - 1) Σ_q (Σ_{i of q} (d_i - mean d))²) / N      Q different questions q
//
// The answers of several seeds to one question go together, so that a question counts once, however often it was asked
// (errors clustered by question: Cameron and Miller 2015). Asked once each, it is sqrt(Σ (d - mean)² / (N - 1)
// / N). A question is known by its id, its picture and its text.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ov::rl {

struct Paired {
  std::int64_t questions = 0;    // N: answers that are compared
  double before = 0, after = 0;  // mean scores
  double error = 0;              // of after - before; 0 where there is one question alone
};

// By "category", by "category, template" and, when there are several, by "all categories". input_error for lists of
// other lengths, and for two files that do not answer the same questions.
std::map<std::string, Paired> paired_scores(const std::vector<std::string>& before,
                                            const std::vector<std::string>& after);

}  // namespace ov::rl
