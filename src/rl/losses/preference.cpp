#include "rl/losses/preference.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace ov::rl {
namespace {

double log_sigmoid(double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) { return std::exp(log_sigmoid(x)); }

}  // namespace

PreferenceLoss preference_loss(std::span<const Preference> pairs, const PreferenceOptions& o) {
  if (pairs.empty()) input_error("preference_loss: expected at least one pair");
  if (!(o.beta > 0)) input_error("beta: expected more than 0, got ", o.beta);
  const auto n = static_cast<double>(pairs.size());
  const double s = o.label_smoothing;
  PreferenceLoss out;
  for (const Preference& p : pairs) {
    const bool ipo = o.kind == PreferenceOptions::Kind::ipo;
    const double nc = ipo ? static_cast<double>(p.chosen_tokens) : 1,
                 nr = ipo ? static_cast<double>(p.rejected_tokens) : 1;
    const double d = (p.chosen - p.chosen_reference) / nc - (p.rejected - p.rejected_reference) / nr, m = o.beta * d;
    const double slope = ipo ? 2 * (d - 1 / (2 * o.beta)) : o.beta * (s * sigmoid(m) - (1 - s) * sigmoid(-m));  // by d
    out.loss +=
        (ipo ? (d - 1 / (2 * o.beta)) * (d - 1 / (2 * o.beta)) : -(1 - s) * log_sigmoid(m) - s * log_sigmoid(-m)) / n;
    out.accuracy += (m > 0) / n;
    out.margin += m / n;
    out.by_chosen.push_back(slope / nc / n);
    out.by_rejected.push_back(-slope / nr / n);
  }
  return out;
}

}  // namespace ov::rl
