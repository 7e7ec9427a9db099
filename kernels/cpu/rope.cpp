#include "kernels/rope.h"

#include "base/math.h"
#include "base/parallel.h"
#include "base/sum.h"
#include "kernels/cpu/grain.h"
#include "kernels/cpu/rotate.h"
#include "kernels/cpu/row_pointers.h"
#include "kernels/cpu/wide_for.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {
namespace {

template <class T>
void forward(const RopeForward& a) {
  const auto [L, H, D] = a.x.dims<3>();
  const RowPointers<T> xs(a.x), ys(a.y);
  wide_for(L, grain(H * D), [&, H = H, R = D / 2](std::int64_t t) {
    const Accum<T>*cos = a.cos.device_row<Accum<T>>(t), *sin = a.sin.device_row<Accum<T>>(t);
    for (std::int64_t h = 0; h < H; ++h) rotate<false>(R, ys[t * H + h], xs[t * H + h], cos, sin);
  });
}

// out_j = Σ_h term(x_hj, x_{h,j+R}, dy_hj, dy_{h,j+R}), j < R: the sum of base/sum.h for every j, bit for bit, with
// the loop over j inside so that it vectorises.
template <class T, class F>
void sum_heads(const RopeBackward& a, std::int64_t t, Accum<T>* out, F&& term) {
  using A = Accum<T>;
  constexpr std::int64_t lanes = 16, most = 64;
  const std::int64_t H = a.x.dim(1), R = a.x.dim(2) / 2;
  for (std::int64_t j0 = 0; j0 < R; j0 += most) {
    const std::int64_t n = std::min(most, R - j0);
    A lane[lanes][most];
    for (std::int64_t k = 0; k < std::min(lanes, H); ++k) std::fill_n(lane[k], n, A(0));
    for (std::int64_t h = 0; h < H; ++h) {
      const T *x = a.x.device_row<T>(t * H + h) + j0, *dy = a.dy.device_row<T>(t * H + h) + j0;
      A* to = lane[h % lanes];
      for (std::int64_t j = 0; j < n; ++j) to[j] += term(x[j], x[j + R], dy[j], dy[j + R]);
    }
    // A lane that no head fell into holds nothing to add.
    for (std::int64_t step = lanes / 2; step; step /= 2)
      for (std::int64_t k = 0; k < step && k + step < H; ++k)
        for (std::int64_t j = 0; j < n; ++j) lane[k][j] += lane[k + step][j];
    std::copy_n(lane[0], n, out + j0);
  }
}

template <class T>
void backward(const RopeBackward& a) {
  using A = Accum<T>;
  const auto [L, H, D] = a.x.dims<3>();
  const RowPointers<T> dys(a.dy), dxs(a.dx);
  wide_for(L, grain(H * D), [&, H = H, R = D / 2](std::int64_t t) {
    const A *cos = a.cos.device_row<A>(t), *sin = a.sin.device_row<A>(t);
    if (a.dx)
      for (std::int64_t h = 0; h < H; ++h) rotate<true>(R, dxs[t * H + h], dys[t * H + h], cos, sin);
    if (a.dcos)
      sum_heads<T>(a, t, a.dcos.device_row<A>(t),
                   [](A x, A x_pair, A dy, A dy_pair) { return dy * x + dy_pair * x_pair; });
    if (a.dsin)
      sum_heads<T>(a, t, a.dsin.device_row<A>(t),
                   [](A x, A x_pair, A dy, A dy_pair) { return dy_pair * x - dy * x_pair; });
  });
}

template <class T>
void table_1d(const RopeTable1d& a) {
  const auto [L, R] = a.cos.dims<2>();
  const float* inv_freq = a.inv_freq.device_data<float>();
  const std::int64_t* positions = a.positions.device_data<std::int64_t>();
  parallel_for(L, grain(16 * R), [&, R = R](std::int64_t t) {
    T *cos = a.cos.device_row<T>(t), *sin = a.sin.device_row<T>(t);
    for (std::int64_t k = 0; k < R; ++k) {
      const Accum<T> angle = Accum<T>(positions[t]) * Accum<T>(inv_freq[k]);
      cos[k] = T(math::cos(angle));
      sin[k] = T(math::sin(angle));
    }
  });
}

template <class T>
void table_2d_forward(const RopeTable2dForward& a) {
  using A = Accum<T>;
  const auto [L, R] = a.cos.dims<2>();
  const float* inv_freq = a.inv_freq.device_data<float>();
  const T* class_angles = a.class_angles.device_data<T>();
  parallel_for(L, grain(16 * R), [&, R = R, F = R / 2](std::int64_t t) {
    const std::int64_t* at = a.positions.device_row<std::int64_t>(t);
    A *cos = a.cos.device_row<A>(t), *sin = a.sin.device_row<A>(t);
    for (std::int64_t k = 0; k < R; ++k) {
      const A angle = at[0] < 0 ? A(class_angles[k]) : A(at[k / F]) * A(inv_freq[k % F]);
      cos[k] = math::cos(angle);
      sin[k] = math::sin(angle);
    }
  });
}

// Class rows are few (one an image), so one thread adds them in order.
template <class T>
void table_2d_backward(const RopeTable2dBackward& a) {
  const auto [L, R] = a.cos.dims<2>();
  Accum<T>* d = a.dclass_angles.device_data<Accum<T>>();
  for (std::int64_t t = 0; t < L; ++t) {
    if (a.positions.device_row<std::int64_t>(t)[0] >= 0) continue;
    const T *cos = a.cos.device_row<T>(t), *sin = a.sin.device_row<T>(t), *dcos = a.dcos.device_row<T>(t),
            *dsin = a.dsin.device_row<T>(t);
    for (std::int64_t k = 0; k < R; ++k) d[k] += dsin[k] * cos[k] - dcos[k] * sin[k];
  }
}

}  // namespace

void rope_forward(const RopeForward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { forward<decltype(t)>(a); });
}

void rope_backward(const RopeBackward& a) {
  by_dtype(a.x.dtype(), [&](auto t) { backward<decltype(t)>(a); });
}

void rope_table_1d(const RopeTable1d& a) {
  by_dtype(a.cos.dtype(), [&](auto t) { table_1d<decltype(t)>(a); });
}

void rope_table_2d_forward(const RopeTable2dForward& a) {
  by_dtype(a.class_angles.dtype(), [&](auto t) { table_2d_forward<decltype(t)>(a); });
}

void rope_table_2d_backward(const RopeTable2dBackward& a) {
  by_dtype(a.cos.dtype(), [&](auto t) { table_2d_backward<decltype(t)>(a); });
}

}  // namespace ov::kernels::cpu
