// Rotary position embedding (kernels/rope.h). Sums over heads in the order of base/sum.h: the CPU's bits.
//
//   y_j = x_j cos_j - x_{j+R} sin_j,  y_{j+R} = x_{j+R} cos_j + x_j sin_j,  R = D/2;  dx by the opposite angle
//   dcos_j = Σ_h dy_j x_j + dy_{j+R} x_{j+R},  dsin_j = Σ_h dy_{j+R} x_j - dy_j x_{j+R}
//
//   head row (t,h) | packet p of the first half ... | packet p of the second half ... |   one thread both packets
//   dcos, dsin       one thread a column (t,j), all heads: 16 lanes of the sum in registers
//
// bf16: forward 2 + 2 bytes an element, backward 2 + 2 and, for learned angles, 2 + 2 once more; 3 and 7 FLOPs. The
// table's 8 bytes a pair are read by all heads of a token and stay in the cache. The angles' gradient takes single
// numbers: its 16 lanes are a thread's registers, and only pictures with learned angles have one.
#include "kernels/rope.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

// Rotates the pairs of row n by its token's angles, or by the opposite ones.
template <class T, bool back>
struct Rotate {
  DeviceRows<T> y, x, y_half, x_half;  // the halves of the rows
  DeviceRows<float> cos, sin;
  std::int64_t H;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const std::int64_t t = DeviceRows<T>::quotient(n, H);
    const auto c = load<width>(cos[t], p), s = load<width>(sin[t], p);
    auto a = load<width>(x[n], p), b = load<width>(x_half[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float first = float(a.at[i]), second = float(b.at[i]);
      if (back) {
        a.at[i] = T(first * c.at[i] + second * s.at[i]);
        b.at[i] = T(second * c.at[i] - first * s.at[i]);
      } else {
        a.at[i] = T(first * c.at[i] - second * s.at[i]);
        b.at[i] = T(second * c.at[i] + first * s.at[i]);
      }
    }
    store<width>(y[n], p, a);
    store<width>(y_half[n], p, b);
  }
};

template <class T, bool back>
void rotate(const Tensor& to, const Tensor& from, const Tensor& cos, const Tensor& sin, gpu::Stream stream) {
  const auto [L, H, D] = from.dims<3>();
  const std::int64_t R = D / 2;
  const auto y = rows_of<T>(to), x = rows_of<T>(from);
  auto y_half = y, x_half = x;
  y_half.data += R, x_half.data += R;
  const auto c = rows_of<float>(cos), s = rows_of<float>(sin);
  for_each_packet<packet_width<T>>(Rotate<T, back>{y, x, y_half, x_half, c, s, H}, L * H, R, stream, y, x, y_half,
                                   x_half, c, s);
}

__device__ inline float tree(float (&lane)[sum_lanes]) {
  for (int step = sum_lanes / 2; step; step /= 2)
    for (int k = 0; k < step; ++k) lane[k] += lane[k + step];
  return lane[0];
}

template <class T>
__global__ void angle_gradients(DeviceRows<float> dcos, DeviceRows<float> dsin, DeviceRows<T> dy, DeviceRows<T> x,
                                std::int64_t L, std::int64_t H, std::int64_t R) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, t = i / R, j = i % R;
  if (t >= L) return;
  float of_cos[sum_lanes] = {}, of_sin[sum_lanes] = {};
  for (std::int64_t h = 0; h < H; h += sum_lanes) {
    for (int k = 0; k < sum_lanes; ++k) {
      if (h + k >= H) continue;
      const T *d = dy[t * H + h + k], *e = x[t * H + h + k];
      const float d_first = float(d[j]), d_second = float(d[j + R]), first = float(e[j]), second = float(e[j + R]);
      of_cos[k] += d_first * first + d_second * second;
      of_sin[k] += d_second * first - d_first * second;
    }
  }
  if (dcos.data) dcos[t][j] = tree(of_cos);
  if (dsin.data) dsin[t][j] = tree(of_sin);
}

}  // namespace

void rope_forward(const RopeForward& a, gpu::Stream stream) {
  by_cuda_dtype(a.x.dtype(), [&](auto t) { rotate<decltype(t), false>(a.y, a.x, a.cos, a.sin, stream); });
}

void rope_backward(const RopeBackward& a, gpu::Stream stream) {
  const auto [L, H, D] = a.x.dims<3>();
  by_cuda_dtype(a.x.dtype(), [&, L = L, H = H, R = D / 2](auto t) {
    using T = decltype(t);
    if (a.dx) rotate<T, true>(a.dx, a.dy, a.cos, a.sin, stream);
    if ((a.dcos || a.dsin) && L * R > 0)
      launch(angle_gradients<T>, dim3(ceil_div(L * R, 128)), dim3(128), 0, stream, rows_of<float>(a.dcos),
             rows_of<float>(a.dsin), rows_of<T>(a.dy), rows_of<T>(a.x), L, H, R);
  });
}

}  // namespace ov::kernels::OV_CUDA
