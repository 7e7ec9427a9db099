#include "eval/scorers/statistics.h"

#include <cmath>
#include <map>

#include "base/error.h"

namespace ov::public_tasks {
namespace {

// numpy's add.reduce: eight running sums, blocks of at most 128 halved.
double pairwise_sum(const double* a, std::size_t n) {
  if (n < 8) {
    double all = 0;
    for (std::size_t i = 0; i < n; ++i) all += a[i];
    return all;
  }
  if (n > 128) {
    const std::size_t half = n / 2 - n / 2 % 8;
    return pairwise_sum(a, half) + pairwise_sum(a + half, n - half);
  }
  double r[8];
  std::copy(a, a + 8, r);
  std::size_t i = 8;
  for (; i < n - n % 8; i += 8)
    for (std::size_t j = 0; j < 8; ++j) r[j] += a[i + j];
  double all = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < n; ++i) all += a[i];
  return all;
}

double squares(const Values& values) {
  const double mu = mean(values);
  double all = 0;
  for (const double v : values) all += (v - mu) * (v - mu);
  return all;
}

double count(const Values& values) { return static_cast<double>(values.size()); }

}  // namespace

double sum(const Values& values) {
  double all = 0;
  for (const double v : values) all += v;
  return all;
}
double mean(const Values& values) { return values.empty() ? NAN : sum(values) / count(values); }
double mean_stderr(const Values& values) {
  if (values.size() < 2) return NAN;
  return std::sqrt(squares(values) / (count(values) - 1)) / std::sqrt(count(values));
}
double stderr_clt(const Values& values) {
  if (values.size() < 2) return NAN;
  const double mu = pairwise_sum(values.data(), values.size()) / count(values);
  Values squared;
  for (const double v : values) squared.push_back((v - mu) * (v - mu));
  return std::sqrt(pairwise_sum(squared.data(), squared.size()) / (count(values) - 1)) / std::sqrt(count(values));
}

double clustered_stderr(const Values& values, const std::vector<std::int64_t>& clusters) {
  if (values.size() < 2) return NAN;
  const double n = count(values), mu = mean(values);
  std::vector<std::int64_t> order;  // of appearance
  std::map<std::int64_t, Values> members;
  for (std::size_t i = 0; i < values.size(); ++i) {
    Values& own = members[clusters[i]];
    if (own.empty()) order.push_back(clusters[i]);
    own.push_back(values[i] - mu);
  }
  double cross = 0;
  for (const std::int64_t c : order) {
    const double all = sum(members[c]);
    double own = 0;
    for (const double d : members[c]) own += d * d;
    cross += all * all - own;
  }
  return std::sqrt(squares(values) / (n - 1) / n + cross / (n * n));
}

double pooled_stderr(const Values& stderrs, const Values& sizes) {
  double variance = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) variance += (sizes[i] - 1) * (stderrs[i] * stderrs[i]) * sizes[i];
  return std::sqrt(variance / (sum(sizes) - count(sizes)) / sum(sizes));
}
double weighted_mean(const Values& metrics, const Values& sizes) {
  double all = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) all += metrics[i] * sizes[i];
  return all / sum(sizes);
}

McNemar mcnemar(const Values& first, const Values& second) {
  McNemar m;
  for (std::size_t i = 0; i < first.size(); ++i) {
    const bool a = first[i] >= 0.5, b = second[i] >= 0.5;  // a score between counts as right from one half
    m.only_first += a && !b;
    m.only_second += b && !a;
  }
  const std::int64_t n = m.only_first + m.only_second, least = std::min(m.only_first, m.only_second);
  double tail = 0;
  for (std::int64_t k = 0; k <= least; ++k)
    tail += std::exp(std::lgamma(double(n + 1)) - std::lgamma(double(k + 1)) - std::lgamma(double(n - k + 1)) -
                     double(n) * std::log(2.0));
  m.p = std::min(1.0, 2 * tail);
  return m;
}

Json number_json(double value) { return std::isfinite(value) ? Json(value) : Json(python::repr(value)); }

Json mean_metric(const Values& values) {
  Json metric = Json::object({{"mean", number_json(mean(values))}, {"n", values.size()}});
  if (values.size() > 1) metric.set("stderr", number_json(mean_stderr(values)));
  return metric;
}
Json share_metric(const Values& values, double scale) {
  Json metric =
      Json::object({{"value", values.empty() ? Json(0) : number_json(mean(values) * scale)}, {"n", values.size()}});
  if (values.size() > 1) metric.set("stderr", number_json(mean_stderr(values) * scale));
  return metric;
}

Values scores(const Lines& lines, std::string_view key) {
  Values values;
  for (const Json& line : lines)
    if (const Json* score = line.find(key); score && score->is_number()) values.push_back(score->as_double());
  return values;
}

std::vector<std::pair<std::string, Lines>> grouped(const Lines& lines,
                                                   const std::function<std::string(const Json&)>& key) {
  std::vector<std::pair<std::string, Lines>> groups;
  std::map<std::string, std::size_t> at;
  for (const Json& line : lines) {
    const auto [place, added] = at.emplace(key(line), groups.size());
    if (added) groups.emplace_back(place->first, Lines());
    groups[place->second].second.push_back(line);
  }
  return groups;
}

std::string doc_field(const Json& line, std::string_view key, const std::string& otherwise) {
  const Json* doc = line.find("doc");
  const Json* value = doc && doc->is_object() ? doc->find(key) : nullptr;
  if (!value || value->is_null()) return otherwise;
  return value->is_string() ? value->as_string() : value->dump();
}

}  // namespace ov::public_tasks
