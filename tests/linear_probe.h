// A linear probe: ridge regression to one-hot labels on standardised features, in f64, with a penalty of a thousandth
// of the rows. Nothing is tuned.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/parallel.h"

namespace ov::test {

using Row = std::vector<double>;

// Rows of one width with several labels each.
struct Examples {
  std::vector<Row> features;
  std::vector<std::vector<std::int64_t>> labels;
  void add(Row row, std::vector<std::int64_t> of) {
    features.push_back(std::move(row)), labels.push_back(std::move(of));
  }
};

// Scores [rows of test][classes]: (XᵀX + λ) W = XᵀY by Cholesky.
inline std::vector<Row> probe(const Examples& train, const Examples& test, std::int64_t classes) {
  const std::size_t N = train.features.size(), C = train.features.at(0).size() + 1,
                    K = static_cast<std::size_t>(classes);
  Row mean(C - 1), deviation(C - 1);
  for (const Row& x : train.features)
    for (std::size_t c = 0; c + 1 < C; ++c) mean[c] += x[c] / static_cast<double>(N);
  for (const Row& x : train.features)
    for (std::size_t c = 0; c + 1 < C; ++c)
      deviation[c] += (x[c] - mean[c]) * (x[c] - mean[c]) / static_cast<double>(N);
  const auto standard = [&](const Row& x) {
    Row out(C, 1);  // the last is the intercept
    for (std::size_t c = 0; c + 1 < C; ++c) out[c] = (x[c] - mean[c]) / std::sqrt(deviation[c] + 1e-12);
    return out;
  };
  std::vector<Row> A(C, Row(C)), W(C, Row(K));
  for (std::size_t n = 0; n < N; ++n) {
    const Row x = standard(train.features[n]);
    for (std::size_t i = 0; i < C; ++i) {
      for (std::size_t j = 0; j <= i; ++j) A[i][j] += x[i] * x[j];
      for (const std::int64_t k : train.labels[n]) W[i][static_cast<std::size_t>(k)] += x[i];
    }
  }
  for (std::size_t i = 0; i < C; ++i) A[i][i] += 1e-3 * static_cast<double>(N);
  for (std::size_t i = 0; i < C; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double s = A[i][j];
      for (std::size_t k = 0; k < j; ++k) s -= A[i][k] * A[j][k];
      A[i][j] = i == j ? std::sqrt(s) : s / A[j][j];
    }
  for (std::size_t i = 0; i < C; ++i)
    for (std::size_t k = 0; k < K; ++k) {
      for (std::size_t j = 0; j < i; ++j) W[i][k] -= A[i][j] * W[j][k];
      W[i][k] /= A[i][i];
    }
  for (std::size_t i = C; i-- > 0;)
    for (std::size_t k = 0; k < K; ++k) {
      for (std::size_t j = i + 1; j < C; ++j) W[i][k] -= A[j][i] * W[j][k];
      W[i][k] /= A[i][i];
    }
  std::vector<Row> scores(test.features.size(), Row(K));
  parallel_for(static_cast<std::int64_t>(scores.size()), 16, [&](std::int64_t n) {
    const Row x = standard(test.features[static_cast<std::size_t>(n)]);
    for (std::size_t i = 0; i < C; ++i)
      for (std::size_t k = 0; k < K; ++k) scores[static_cast<std::size_t>(n)][k] += x[i] * W[i][k];
  });
  return scores;
}

}  // namespace ov::test
