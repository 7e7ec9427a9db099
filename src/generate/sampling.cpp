#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "base/rng.h"

namespace ov {
namespace {

constexpr double out = -std::numeric_limits<double>::infinity();

void penalise(std::vector<double>& s, const Sampling& o, std::span<const std::int64_t> ids, std::size_t prompt) {
  for (const auto& [id, bias] : o.logit_bias) s[static_cast<std::size_t>(id)] += bias;
  if (o.repetition_penalty != 1) {
    std::vector<std::int64_t> seen(ids.begin(), ids.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const std::int64_t id : seen) {
      double& x = s[static_cast<std::size_t>(id)];
      x = x > 0 ? x / o.repetition_penalty : x * o.repetition_penalty;
    }
  }
  if (o.presence_penalty == 0 && o.frequency_penalty == 0) return;
  std::map<std::int64_t, std::int64_t> times;
  for (const std::int64_t id : ids.subspan(prompt)) ++times[id];
  for (const auto& [id, n] : times)
    s[static_cast<std::size_t>(id)] -= o.presence_penalty + o.frequency_penalty * static_cast<double>(n);
}

void keep_top_k(std::vector<double>& s, std::int64_t k) {
  if (k <= 0 || k >= static_cast<std::int64_t>(s.size())) return;
  std::vector<double> order = s;
  std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), std::greater<>());
  const double least = order[static_cast<std::size_t>(k - 1)];
  for (double& x : s)
    if (x < least) x = out;
}

void keep_top_p(std::vector<double>& s, double p) {
  if (p >= 1) return;
  const std::vector<double> share = probabilities(s);
  std::vector<std::size_t> order;
  for (std::size_t v = 0; v < s.size(); ++v)
    if (s[v] > out) order.push_back(v);
  // Of equals the highest ids go first.
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return s[a] != s[b] ? s[a] < s[b] : a > b; });
  double sum = 0;
  for (std::size_t i = 0; i + 1 < order.size() && (sum += share[order[i]]) <= 1 - p; ++i) s[order[i]] = out;
}

void keep_min_p(std::vector<double>& s, double min_p) {
  if (min_p <= 0) return;
  const std::vector<double> share = probabilities(s);
  const double least = min_p * *std::max_element(share.begin(), share.end());
  for (std::size_t v = 0; v < s.size(); ++v)
    if (share[v] < least) s[v] = out;
}

std::int64_t largest(const std::vector<double>& s) {
  return std::max_element(s.begin(), s.end()) - s.begin();  // the first of equals
}

void check_range(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))
    input_error(name, ": expected a number from ", low, " to ", high, ", found ", value);
}

}  // namespace

void check_sampling(const Sampling& o, std::int64_t vocabulary) {
  constexpr double huge = std::numeric_limits<double>::max();
  check_range("temperature", o.temperature, 0, huge);
  check_range("top_p", o.top_p, 0, 1);
  check_range("min_p", o.min_p, 0, 1);
  check_range("repetition_penalty", o.repetition_penalty, std::numeric_limits<double>::min(), huge);
  check_range("presence_penalty", o.presence_penalty, -huge, huge);
  check_range("frequency_penalty", o.frequency_penalty, -huge, huge);
  require_at_least(o.top_k, 0, "top_k");
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || id >= vocabulary)
      input_error("logit_bias: id ", id, " where the vocabulary has ", vocabulary, " rows");
    check_range("logit_bias", bias, -huge, huge);
  }
}

std::vector<double> row_of_logits(const Tensor& logits, std::int64_t row) {
  return logits.slice(0, row, row + 1).to(Dtype::f64).to_vector<double>();
}

void process_scores(std::vector<double>& s, const Sampling& o, std::span<const std::int64_t> ids, std::size_t prompt) {
  penalise(s, o, ids, prompt);
  if (o.temperature == 0) return;
  if (o.temperature != 1)
    for (double& x : s) x /= o.temperature;
  keep_top_k(s, o.top_k);
  keep_top_p(s, o.top_p);
  keep_min_p(s, o.min_p);
}

std::vector<double> probabilities(std::span<const double> s) {
  const double most = *std::max_element(s.begin(), s.end());
  std::vector<double> p(s.size());
  double sum = 0;
  for (std::size_t v = 0; v < s.size(); ++v) sum += p[v] = std::exp(s[v] - most);
  for (double& x : p) x /= sum;
  return p;
}

Token told(const std::vector<double>& z, std::int64_t id, std::int64_t top_logprobs) {
  Token token{.id = id};
  if (top_logprobs < 0) return token;
  const double most = z[static_cast<std::size_t>(largest(z))];
  double sum = 0;
  for (const double x : z) sum += std::exp(x - most);
  const double log_sum = most + std::log(sum);
  token.logprob = z[static_cast<std::size_t>(id)] - log_sum;
  std::vector<std::int64_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  const auto n = std::min<std::ptrdiff_t>(top_logprobs, std::ssize(order));
  std::partial_sort(order.begin(), order.begin() + n, order.end(), [&](std::int64_t a, std::int64_t b) {
    const double x = z[static_cast<std::size_t>(a)], y = z[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const std::int64_t other = order[static_cast<std::size_t>(i)];
    token.top.emplace_back(other, z[static_cast<std::size_t>(other)] - log_sum);
  }
  return token;
}

Token sample(const std::vector<double>& logits, const Sampling& o, std::span<const std::int64_t> ids,
             std::size_t prompt) {
  std::vector<double> s = logits;
  process_scores(s, o, ids, prompt);
  std::int64_t id = largest(s);
  if (o.temperature > 0) {
    const double most = s[static_cast<std::size_t>(id)];
    double sum = 0;
    for (double& x : s) sum += x = std::exp(x - most);
    const Philox random(o.seed, "sampling", ids.size() - prompt);
    double left = random.uniform_f64(o.choice) * sum;
    for (std::size_t v = 0; v < s.size(); ++v) {
      if (s[v] == 0) continue;
      id = static_cast<std::int64_t>(v);  // the last possible one, should rounding leave something over
      if ((left -= s[v]) < 0) break;
    }
  }
  return told(logits, id, o.top_logprobs);
}

}  // namespace ov
