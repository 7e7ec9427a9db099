// What a run of RL or DPO logs of its answers, as curves: each step, and behind it the mean of the steps around it.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

namespace ov {
namespace {

struct Number {
  const char *name, *title;  // of the log, of the plot
  bool from_zero;
};
// A row for every entry of RunSummary::policy_numbers, in its order (rl/objective.h, rl/preference_objective.h).
constexpr Number numbers[] = {
    {"reward", "reward, mean of a step's answers", false},
    {"length", "length, tokens of an answer", true},
    {"entropy", "entropy of a token, nats", true},
    {"staleness", "staleness of a token, updates", true},
    {"clip", "clipped tokens, share", true},
    {"margin", "margin of a pair", false},
    {"accuracy", "pairs with the margin above 0, share", true},
};
static_assert(std::size(numbers) == RunSummary::policy_numbers.size());

// First and last value of the line, for people.
std::string level(double value) {
  char out[32];
  std::snprintf(out, sizeof out, "%.3g", value);
  return out;
}

// What is saved where the rollouts of a group share their prompt and equal ones are trained once; "" where nothing is
// known of it.
std::string sharing(const RunSummary& run) {
  std::string out;
  const auto spared = [&](const char* who, double left, double all) {
    char share[32];
    std::snprintf(share, sizeof share, "%.1f", 100 * (1 - left / all));
    out += cat(out.empty() ? "shared prompts: " : "; ", who, " spared ", share, " % of ",
               static_cast<std::int64_t>(all), " tokens");
  };
  if (const double all = run.prompt_tokens + run.shared_tokens; all > 0) spared("writing", run.prompt_tokens, all);
  if (run.row_tokens > 0) spared("training", run.tokens, run.row_tokens);
  return out;
}

}  // namespace

std::string policy_curves(const RunSummary& run) {
  std::string plots, about;
  for (std::size_t i = 0; i < std::size(numbers); ++i) {
    const std::vector<double>& raw = run.policy[i];
    if (std::none_of(raw.begin(), raw.end(), [](double v) { return std::isfinite(v); })) continue;
    const std::vector<double> mean = smoothed(raw, std::max<std::int64_t>(2, std::ssize(raw) / 40));
    plots += line_plot({{"each step", run.step, raw, true}, {numbers[i].name, run.step, mean}},
                       {.title = numbers[i].title, .x_label = "step", .from_zero = numbers[i].from_zero});
    if (std::isfinite(mean.front()) && std::isfinite(mean.back()))
      about += cat(about.empty() ? "" : ", ", numbers[i].name, " ", level(mean.front()), " to ", level(mean.back()));
  }
  if (plots.empty()) return "";
  const std::string shared = sharing(run), compute = run.sampling_flops > 0 ? compute_text({run}) : "";
  return html::element("section", {{"class", "card"}},
                       html::text("h3", cat(run.name, ": its answers")) +
                           html::text("div", {{"class", "note"}}, cat("lines: the mean of the steps around; ", about)) +
                           (compute.empty() ? "" : html::text("div", {{"class", "note"}}, compute)) +
                           (shared.empty() ? "" : html::text("div", {{"class", "note"}}, shared)) +
                           html::element("div", {{"class", "plots"}}, plots)) +
         "\n";
}

}  // namespace ov
