#include "rl/paired.h"

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "store/jsonl.h"

namespace ov::rl {
namespace {

struct Sums {
  double n = 0, before = 0, after = 0;
  struct Question {
    double n = 0, difference = 0;
  };
  std::map<std::int64_t, Question> questions;  // by number

  void add(std::int64_t question, double b, double a) {
    ++n, before += b, after += a;
    Question& q = questions[question];
    ++q.n, q.difference += a - b;
  }
  Paired paired() const {
    const double mean = (after - before) / n;
    double squares = 0;
    for (const auto& [number, q] : questions) squares += std::pow(q.difference - q.n * mean, 2);
    const auto Q = static_cast<double>(questions.size());
    return {static_cast<std::int64_t>(n), before / n, after / n, Q > 1 ? std::sqrt(Q / (Q - 1) * squares) / n : 0};
  }
};

// A line of predictions.jsonl; input_error names its place and key.
struct Predicted {
  static constexpr const char* keys[] = {"id", "category", "template", "question"};
  Predicted(const Json& line, const std::string& where) {
    std::string at;
    try {
      for (std::size_t i = 0; i < std::size(keys); ++i) at = keys[i], texts[i] = line.at(keys[i]).as_string();
      at = "score", score = line.at("score").as_double();
      if (const Json* image = line.find("image"); image && image->is_string()) picture = image->as_string();
    } catch (const Error& e) { throw Error(e.exit(), cat(where, ": ", at, ": ", e.what())); }
  }
  std::string texts[std::size(keys)], picture;
  double score = 0;
};

// Of the directory that eval wrote, the file in it.
std::string predictions_of(const std::string& path) {
  return std::filesystem::is_directory(path) ? path + "/predictions.jsonl" : path;
}

}  // namespace

std::map<std::string, Paired> paired_scores(const std::vector<std::string>& before,
                                            const std::vector<std::string>& after) {
  if (before.empty() || before.size() != after.size())
    input_error("rl-table: expected as many files in rl.after as in rl.before, at least one; got ", after.size(),
                " and ", before.size());
  std::map<std::string, Sums> sums, categories;
  Sums all;
  std::map<std::string, std::int64_t> numbers;  // of questions
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::string was = predictions_of(before[i]), is = predictions_of(after[i]);
    JsonlReader first(was), second(is);
    Json b, a;
    for (;;) {
      const bool more = first.next(&b);
      const bool also = second.next(&a);
      const std::string where = cat(is, ":", second.line());
      if (also != more) input_error(where, ": expected the questions of ", was);
      if (!more) break;
      const Predicted x(b, cat(was, ":", first.line())), y(a, where);
      for (std::size_t k = 0; k < std::size(Predicted::keys); ++k)
        if (x.texts[k] != y.texts[k])
          input_error(where, ": ", Predicted::keys[k], ": expected '", x.texts[k], "' as in ", was, ", found '",
                      y.texts[k], "'");
      const std::string& category = x.texts[1];
      const std::string asked = cat(x.texts[0], "\n", x.picture, "\n", x.texts[3]);
      const std::int64_t q = numbers.emplace(asked, std::ssize(numbers)).first->second;
      all.add(q, x.score, y.score), categories[category].add(q, x.score, y.score);
      sums[cat(category, ", ", x.texts[2])].add(q, x.score, y.score);
    }
  }
  if (all.n == 0) input_error(before[0], ": no question");
  for (const auto& [name, s] : categories) sums[name] = s;
  if (categories.size() > 1) sums["all categories"] = all;
  std::map<std::string, Paired> out;
  for (const auto& [name, s] : sums) out[name] = s.paired();
  return out;
}

}  // namespace ov::rl
