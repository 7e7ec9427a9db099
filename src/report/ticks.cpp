// Where an axis is marked, and what stands there.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "report/plot.h"

namespace ov {

std::vector<double> ticks(double low, double high, int about) {
  if (!std::isfinite(low) || !std::isfinite(high) || low > high || about < 1) return {};
  if (low == high) return {low};
  const double rough = (high - low) / about, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double nice : {5.0, 2.0, 1.0})
    if (nice * power >= rough * (1 - 1e-9)) step = nice * power;
  std::vector<double> out;
  // Half a thousandth of a step forgives what rounding does to the ends.
  for (double k = std::ceil(low / step - 5e-4); k * step <= high + 5e-4 * step; ++k) out.push_back(k * step + 0.0);
  return out.size() < 2 && about < 64 ? ticks(low, high, 2 * about) : out;
}

std::vector<double> log_ticks(double low, double high) {
  if (!(low > 0) || !std::isfinite(high) || low > high) return {};
  if (high < 2 * low) return ticks(low, high, 4);
  const double first = std::floor(std::log10(low)), last = std::ceil(std::log10(high));
  const auto collect = [&](std::initializer_list<double> multiples, double every) {
    std::vector<double> out;
    for (double e = first; e <= last; e += every)
      for (const double m : multiples)
        if (const double v = m * std::pow(10, e); v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9)) out.push_back(v);
    return out;
  };
  const auto powers = collect({1}, std::max(1.0, std::ceil((last - first) / 8)));
  return powers.size() >= 3 ? powers : collect({1, 2, 5}, 1);
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "–";
  const double size = std::fabs(value);
  const char* unit = "";
  if (size >= 1e12) value /= 1e12, unit = "T";
  else if (size >= 1e9) value /= 1e9, unit = "G";
  else if (size >= 1e6) value /= 1e6, unit = "M";
  else if (size >= 1e4) value /= 1e3, unit = "k";
  char text[40];
  std::snprintf(text, sizeof text, "%.4g%s", value, unit);
  return text;
}

std::vector<double> smoothed(const std::vector<double>& y, std::int64_t reach) {
  const auto n = static_cast<std::int64_t>(y.size());
  std::vector<double> sum(y.size() + 1), count(y.size() + 1), out(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const bool finite = std::isfinite(y[i]);
    sum[i + 1] = sum[i] + (finite ? y[i] : 0);
    count[i + 1] = count[i] + finite;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto begin = static_cast<std::size_t>(std::max<std::int64_t>(0, i - reach)),
               end = static_cast<std::size_t>(std::min(n, i + reach + 1));
    const double here = count[end] - count[begin];
    out[static_cast<std::size_t>(i)] =
        here > 0 ? (sum[end] - sum[begin]) / here : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

}  // namespace ov
