#include "kernels/region_attention.h"

#include <limits>

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/attention_keys.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/widened.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

// The rows that one region sees.
struct Seen {
  Seen(const Tensor& begin, const Tensor& rows, std::int64_t r) {
    const std::int64_t* from = begin.device_data<std::int64_t>() + r;
    row = rows.device_data<std::int64_t>() + from[0], count = from[1] - from[0];
  }
  const std::int64_t* row;
  std::int64_t count;
};

template <class T>
void add_scaled(std::int64_t n, T* to, T factor, const T* from) {
  for (std::int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

// P: what probabilities are rounded to where they enter the second product.
template <class T, class P = T>
void forward(const RegionAttentionForward& a) {
  const auto [R, H, D] = a.q.dims<3>();
  const T scale = T(a.scale);
  const std::int64_t rows_per_region = a.rows.numel() / std::max<std::int64_t>(1, R) + 1;

  parallel_ranges(R * H, grain(4 * D * rows_per_region), [&, H = H, D = D](std::int64_t first, std::int64_t last) {
    std::vector<T> p;
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t r = i / H, h = i % H;
      const Seen seen(a.begin, a.rows, r);
      const HeadRows<T> q(a.q, h), k(a.k, h), v(a.v, h), o(a.o, h);
      p.resize(static_cast<std::size_t>(seen.count));
      T top = -std::numeric_limits<T>::infinity();
      for (std::int64_t j = 0; j < seen.count; ++j) {
        T& s = p[static_cast<std::size_t>(j)];
        s = scale * dot<T>(D, q.row(r), k.row(seen.row[j]));
        top = s > top ? s : top;
      }
      for (T& s : p) s = math::exp(s - top);
      const T total = sum<T>(seen.count, [&](std::int64_t j) { return p[static_cast<std::size_t>(j)]; });
      T* out = o.row(r);
      std::fill_n(out, D, T(0));
      for (std::int64_t j = 0; j < seen.count; ++j)
        add_scaled(D, out, T(P(p[static_cast<std::size_t>(j)])), v.row(seen.row[j]));
      for (std::int64_t d = 0; d < D; ++d) out[d] /= total;
      a.lse.device_row<T>(r)[h] = top + math::log(total);
    }
  });
}

// Regions of a picture write to the same keys, so one task takes all regions, for one head.
template <class T, class P = T>
void backward(const RegionAttentionBackward& a) {
  const auto [R, H, D] = a.q.dims<3>();
  const T scale = T(a.scale);

  parallel_for(H, [&, R = R, D = D](std::int64_t h) {
    const HeadRows<T> q(a.q, h), k(a.k, h), v(a.v, h), o(a.o, h), d_o(a.d_o, h), dq(a.dq, h), dk(a.dk, h), dv(a.dv, h);
    for (std::int64_t n = 0; n < a.k.dim(0); ++n) {
      std::fill_n(dk.row(n), D, T(0));
      std::fill_n(dv.row(n), D, T(0));
    }
    for (std::int64_t r = 0; r < R; ++r) {
      const Seen seen(a.begin, a.rows, r);
      const T delta = dot<T>(D, o.row(r), d_o.row(r)), lse = a.lse.device_row<T>(r)[h];
      std::fill_n(dq.row(r), D, T(0));
      for (std::int64_t j = 0; j < seen.count; ++j) {
        const std::int64_t n = seen.row[j];
        const T p = math::exp(scale * dot<T>(D, q.row(r), k.row(n)) - lse);
        const T ds = scale * p * (dot<T>(D, d_o.row(r), v.row(n)) - delta);
        add_scaled(D, dv.row(n), T(P(p)), d_o.row(r));
        add_scaled(D, dk.row(n), ds, q.row(r));
        add_scaled(D, dq.row(r), ds, k.row(n));
      }
    }
  });
}

}  // namespace

void region_attention_forward(const RegionAttentionForward& a) {
  if (a.q.dtype() == Dtype::f32) return forward<float>(a);
  if (a.q.dtype() == Dtype::f64) return forward<double>(a);
  using T = Bf16;
  RegionAttentionForward wide = a;
  wide.q = widened<T>(a.q), wide.k = widened<T>(a.k), wide.v = widened<T>(a.v), wide.o = widened<T>(a.o, false);
  forward<float, T>(wide);
  copy({.y = a.o, .x = wide.o});
}

void region_attention_backward(const RegionAttentionBackward& a) {
  if (a.q.dtype() == Dtype::f32) return backward<float>(a);
  if (a.q.dtype() == Dtype::f64) return backward<double>(a);
  using T = Bf16;
  RegionAttentionBackward wide = a;
  wide.q = widened<T>(a.q), wide.k = widened<T>(a.k), wide.v = widened<T>(a.v);
  wide.o = widened<T>(a.o), wide.d_o = widened<T>(a.d_o);
  wide.dq = widened<T>(a.dq, false), wide.dk = widened<T>(a.dk, false), wide.dv = widened<T>(a.dv, false);
  backward<float, T>(wide);
  copy({.y = a.dq, .x = wide.dq}), copy({.y = a.dk, .x = wide.dk}), copy({.y = a.dv, .x = wide.dv});
}

}  // namespace ov::kernels::cpu
