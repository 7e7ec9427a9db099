#include "rl/paired.h"

#include <cmath>

#include "base/error.h"
#include "store/jsonl.h"

namespace ov::rl {
namespace {

struct Sums {
  double n = 0, before = 0, after = 0, squares = 0;

  void add(double b, double a) { ++n, before += b, after += a, squares += (a - b) * (a - b); }
  Paired paired() const {
    const double mean = (after - before) / n;
    return {static_cast<std::int64_t>(n), before / n, after / n,
            n > 1 ? std::sqrt(std::max(squares - n * mean * mean, 0.0) / (n - 1) / n) : 0};
  }
};

}  // namespace

std::map<std::string, Paired> paired_scores(const std::vector<std::string>& before,
                                            const std::vector<std::string>& after) {
  if (before.empty() || before.size() != after.size())
    input_error("rl-table: expected as many files in rl.after as in rl.before, at least one; got ", after.size(),
                " and ", before.size());
  std::map<std::string, Sums> sums, categories;
  Sums all;
  for (std::size_t i = 0; i < before.size(); ++i) {
    JsonlReader first(before[i]), second(after[i]);
    Json b, a;
    for (;;) {
      const bool more = first.next(&b);
      const std::string where = cat(after[i], ":", more ? first.line() : second.line());
      if (second.next(&a) != more) input_error(where, ": expected the questions of ", before[i]);
      if (!more) break;
      for (const char* key : {"id", "category", "template", "question"})
        if (a.at(key).as_string() != b.at(key).as_string())
          input_error(where, ": ", key, ": expected '", b.at(key).as_string(), "' as in ", before[i], ", found '",
                      a.at(key).as_string(), "'");
      const double x = b.at("score").as_double(), y = a.at("score").as_double();
      const std::string& category = b.at("category").as_string();
      all.add(x, y), categories[category].add(x, y);
      sums[cat(category, ", ", b.at("template").as_string())].add(x, y);
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
