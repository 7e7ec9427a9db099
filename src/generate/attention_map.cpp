#include "generate/attention_map.h"

#include <algorithm>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"

namespace ov {

void AttentionMap::attends(std::int64_t, const Tensor& q_THD, const Tensor& k_SKD, double scale) {
  const std::int64_t H = q_THD.dim(1), K = k_SKD.dim(1), D = q_THD.dim(2);
  for (Watch& w : watches_) {
    const auto q_HD = q_THD.slice(0, w.query, w.query + 1).to(Dtype::f64).to_vector<double>();
    const auto k_NKD = k_SKD.slice(0, w.first, w.first + w.keys).to(Dtype::f64).to_vector<double>();
    const std::size_t wanted = w.places.size();
    std::vector<double> p_HW(static_cast<std::size_t>(H) * wanted);
    parallel_for(H, [&](std::int64_t h) {
      std::vector<double> s(static_cast<std::size_t>(w.keys));
      const double* q = q_HD.data() + h * D;
      for (std::int64_t j = 0; j < w.keys; ++j)
        s[static_cast<std::size_t>(j)] = scale * dot<double>(D, q, k_NKD.data() + (j * K + h / (H / K)) * D);
      const double top = *std::max_element(s.begin(), s.end());
      for (double& x : s) x = math::exp(x - top);
      const double total = sum<double>(w.keys, [&](std::int64_t j) { return s[static_cast<std::size_t>(j)]; });
      for (std::size_t i = 0; i < wanted; ++i)
        p_HW[static_cast<std::size_t>(h) * wanted + i] = s[static_cast<std::size_t>(w.places[i])] / total;
    });
    w.mass.resize(wanted);
    for (std::size_t i = 0; i < p_HW.size(); ++i) w.mass[i % wanted] += p_HW[i] / static_cast<double>(layers_ * H);
  }
}

}  // namespace ov
