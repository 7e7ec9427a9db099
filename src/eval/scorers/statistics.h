// Means and their standard errors, in the order of additions of lmms-eval (Python 3.11: sum() is plain).
#pragma once
#include <functional>

#include "eval/scorers/task.h"

namespace ov::public_tasks {

using Values = std::vector<double>;

double sum(const Values& values);
double mean(const Values& values);         // NaN of nothing
double mean_stderr(const Values& values);  // sample deviation / sqrt(n); NaN of fewer than two
double stderr_clt(const Values& values);   // the same by numpy's pairwise sums
// Miller 2024 (arXiv 2411.00640), equation 4: values of one cluster hang together.
double clustered_stderr(const Values& values, const std::vector<std::int64_t>& clusters);
double pooled_stderr(const Values& stderrs, const Values& sizes);
double weighted_mean(const Values& metrics, const Values& sizes);

// Two runs over the same questions: b questions only the first answers right, c only the second. Exact two-sided
// binomial test of b against c (McNemar 1947).
struct McNemar {
  std::int64_t only_first = 0, only_second = 0;
  double p = 1;
};
McNemar mcnemar(const Values& first, const Values& second);

Json mean_metric(const Values& values);                             // {"mean", "n", "stderr"}
Json share_metric(const Values& values, double scale = 1);          // {"value", "n", "stderr"}
Values scores(const Lines& lines, std::string_view key = "score");  // of the lines that have one
// Lines by what `key` says of them, in order of appearance.
std::vector<std::pair<std::string, Lines>> grouped(const Lines& lines,
                                                   const std::function<std::string(const Json&)>& key);
std::string doc_field(const Json& line, std::string_view key, const std::string& otherwise = "");

}  // namespace ov::public_tasks
