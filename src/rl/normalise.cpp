// Mean and deviation of groups or of the batch, in f64, whatever the values are stored in.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/sum.h"
#include "rl/advantages.h"

namespace ov::rl {
namespace {

template <class F>
double total(std::size_t n, F term) {
  return sum<double>(static_cast<std::int64_t>(n), [&](std::int64_t i) { return term(static_cast<std::size_t>(i)); });
}

// The mean of x over the mask, of each element's others where one is left out.
template <class T>
std::vector<double> means(std::span<const T> x, std::span<const T> mask, bool leave_one_out) {
  const auto m = [&](std::size_t i) { return mask.empty() ? 1.0 : static_cast<double>(mask[i]); };
  const auto masked = [&](std::size_t i) { return static_cast<double>(x[i]) * m(i); };
  const double n = mask.empty() ? static_cast<double>(x.size()) : total(x.size(), m), s = total(x.size(), masked);
  std::vector<double> out(x.size(), n == 0 || (leave_one_out && n <= 1) ? 0.0 : s / n);
  if (leave_one_out && n > 1)
    for (std::size_t i = 0; i < x.size(); ++i)
      if (m(i) > 0) out[i] = (s - masked(i)) / std::max(n - m(i), 1.0);
  return out;
}

template <class T, class M>
double deviation(std::span<const T> x, std::span<const T> mask, std::span<const M> mean, bool unbiased) {
  const auto m = [&](std::size_t i) { return mask.empty() ? 1.0 : static_cast<double>(mask[i]); };
  const double n = mask.empty() ? static_cast<double>(x.size()) : total(x.size(), m);
  const double squares = total(x.size(), [&](std::size_t i) {
    const double c = static_cast<double>(x[i]) * m(i) - static_cast<double>(mean[i]) * m(i);
    return c * c;
  });
  const double divisor = unbiased ? n - 1 : n;
  return divisor <= 0 ? 1 : std::sqrt(squares / divisor);
}

}  // namespace

template <class T>
std::vector<float> normalise(std::span<const T> x, std::int64_t rows, std::int64_t columns, std::span<const T> mask,
                             const NormOptions& o) {
  if (!mask.empty() && std::all_of(mask.begin(), mask.end(), [](T m) { return m == 0; })) return {x.begin(), x.end()};
  const bool by_group = o.mean == Level::group || o.std == Level::group, single = o.group_size == 1;
  if (by_group) require_at_least(o.group_size, 1, "group_size");
  const bool zero_mean = single && o.leave_one_out, unit_std = single && o.unbiased;
  if (columns == 0 && ((o.mean == Level::group && zero_mean) || (o.std == Level::group && unit_std)))
    input_error(
        "normalise: groups of one reward have no mean of the others and no unbiased deviation; expected "
        "group_size of at least 2");
  const auto width = static_cast<std::size_t>(columns == 0 ? 1 : columns);
  const std::size_t group = static_cast<std::size_t>(o.group_size) * width;
  const std::size_t grouped = by_group ? static_cast<std::size_t>(rows / o.group_size) * group : 0;
  const auto part = [&](std::span<const T> v, std::size_t at) { return v.empty() ? v : v.subspan(at, group); };

  // A batch's mean stays f64; a group's is stored in T. So x - mean and the quotient are of that type too.
  std::vector<double> batch_mean;
  std::vector<T> mean(x.size(), 0), std_of(x.size(), 0);
  if (o.mean == Level::batch) batch_mean = means(x, mask, o.leave_one_out);
  if (o.mean == Level::group && !zero_mean)
    for (std::size_t at = 0; at < grouped; at += group) {
      const auto m = means(part(x, at), part(mask, at), o.leave_one_out);
      std::copy(m.begin(), m.end(), mean.begin() + static_cast<std::ptrdiff_t>(at));
    }
  const auto spread = [&](std::size_t at, std::size_t n) {
    const auto xs = x.subspan(at, n), ms = mask.empty() ? mask : mask.subspan(at, n);
    return o.mean == Level::batch ? deviation(xs, ms, std::span<const double>(batch_mean).subspan(at, n), o.unbiased)
                                  : deviation(xs, ms, std::span<const T>(mean).subspan(at, n), o.unbiased);
  };
  double batch_std = 1;
  if (o.std == Level::batch) batch_std = spread(0, x.size());
  if (o.std == Level::group)
    for (std::size_t at = 0; at < grouped; at += group)
      std::fill_n(std_of.begin() + static_cast<std::ptrdiff_t>(at), group,
                  static_cast<T>(unit_std ? 1.0 : spread(at, group)));

  std::vector<float> out(x.size());
  const double eps = o.std == Level::none ? 0 : o.eps;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double m = mask.empty() ? 1.0 : static_cast<double>(mask[i]);
    const double centred =
        (o.mean == Level::batch ? static_cast<double>(x[i]) - batch_mean[i] : static_cast<double>(x[i] - mean[i])) * m;
    const double s = o.std == Level::group ? static_cast<double>(std_of[i] + static_cast<T>(eps)) : batch_std + eps;
    out[i] = static_cast<float>(centred / s);
  }
  return out;
}

template std::vector<float> normalise<float>(std::span<const float>, std::int64_t, std::int64_t, std::span<const float>,
                                             const NormOptions&);
template std::vector<float> normalise<double>(std::span<const double>, std::int64_t, std::int64_t,
                                              std::span<const double>, const NormOptions&);

std::vector<float> masked_normalization(std::span<const double> x, std::span<const double> mask, bool unbiased,
                                        double eps) {
  const auto m = [&](std::size_t i) { return mask.empty() ? 1.0 : mask[i]; };
  const double n = total(x.size(), m);
  const double mean = total(x.size(), [&](std::size_t i) { return x[i] * m(i); }) / n;
  double variance = total(x.size(), [&](std::size_t i) { return x[i] * m(i) * x[i] * m(i); }) / n - mean * mean;
  if (unbiased) variance *= n / (n - 1);
  std::vector<float> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    out[i] = static_cast<float>((x[i] * m(i) - mean) / (std::sqrt(variance) + eps));
  return out;
}

}  // namespace ov::rl
