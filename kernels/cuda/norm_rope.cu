// The RMS norm of a head's rows and their rotation (kernels/norm_rope.h). Sums in the order of base/sum.h: the CPU's
// bits.
//
//   u = w (x r),  y_j = u_j cos_j - u_{j+R} sin_j,  y_{j+R} = u_{j+R} cos_j + u_j sin_j,  R = D/2
//   du = dy turned back,  dx = r (du w - x r² mean(du w x)),  dw += Σ_n du x r
//
//   head row n = (t,h) | lane 0 | lane 1 | ... | lane 31 | lane 0 | ...     one warp a row, 8 rows a block
//                      | j ->              R |             R + j ->   D     a lane both halves of its pairs
//   dw                   64 rows a block, one thread a column, then a tree  (kernels/cuda/row_sums.h)
//
// A row of 128 is 256 bytes in bf16: what the sum reads is in the first cache when the rotation reads it again. bf16:
// forward 2 + 2 bytes an element, where rmsnorm and rope move 8; backward 2 + 2 + 2 for dx and 2 + 2 for dw; 7 and 15
// FLOPs. The table's 8 bytes a pair are read by all heads of a token.
#include "kernels/norm_rope.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int head_rows = 8;  // of a block, a warp each

template <class T>
__global__ void norm_and_turn(DeviceRows<T> y_rows, float* rstd, DeviceRows<T> x_rows, const T* w,
                              DeviceRows<float> cos_rows, DeviceRows<float> sin_rows, std::int64_t N, std::int64_t H,
                              std::int64_t R, float eps) {
  const int lane = threadIdx.x % 32;
  const std::int64_t n = std::int64_t(blockIdx.x) * head_rows + threadIdx.x / 32;
  if (n >= N) return;
  const std::int64_t t = DeviceRows<T>::quotient(n, H);
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float *cos = cos_rows[t], *sin = sin_rows[t];
  const float square = warp_sum(2 * R, lane, [&](std::int64_t c) { return float(x[c]) * float(x[c]); });
  const float r = math::rsqrt(square / float(2 * R) + eps);
  for (std::int64_t j = lane; j < R; j += 32) {
    const float first = float(T(float(w[j]) * (float(x[j]) * r)));
    const float second = float(T(float(w[j + R]) * (float(x[j + R]) * r)));
    y[j] = T(first * cos[j] - second * sin[j]);
    y[j + R] = T(second * cos[j] + first * sin[j]);
  }
  if (lane == 0) rstd[n] = r;
}

// du of a row, element by element.
template <class T>
struct TurnedBack {
  const T* dy;
  const float *cos, *sin;
  std::int64_t R;
  __device__ float operator()(std::int64_t c) const {
    const bool upper = c >= R;
    const std::int64_t j = upper ? c - R : c;
    const float first = float(dy[j]), second = float(dy[j + R]);
    return float(upper ? T(second * cos[j] - first * sin[j]) : T(first * cos[j] + second * sin[j]));
  }
};

// What du of any row is made of; the gradient of w is a sum over these.
template <class T>
struct HeadGradient {
  DeviceRows<T> dy, x;
  DeviceRows<float> cos, sin;
  const float* rstd;
  std::int64_t H, R;
  __device__ TurnedBack<T> row(std::int64_t n) const {
    const std::int64_t t = DeviceRows<T>::quotient(n, H);
    return {dy[n], cos[t], sin[t], R};
  }
  __device__ float operator()(std::int64_t n, std::int64_t c) const { return row(n)(c) * float(x[n][c]) * rstd[n]; }
};

template <class T>
__global__ void turn_back_and_norm(DeviceRows<T> dx_rows, HeadGradient<T> g, const T* w, std::int64_t N) {
  const int lane = threadIdx.x % 32;
  const std::int64_t n = std::int64_t(blockIdx.x) * head_rows + threadIdx.x / 32;
  if (n >= N) return;
  const TurnedBack<T> du = g.row(n);
  const T* x = g.x[n];
  T* dx = dx_rows[n];
  const std::int64_t D = 2 * g.R;
  const float r = g.rstd[n];
  const float k =
      r * r / float(D) * warp_sum(D, lane, [&](std::int64_t c) { return du(c) * float(w[c]) * float(x[c]); });
  for (std::int64_t c = lane; c < D; c += 32) dx[c] = T(r * (du(c) * float(w[c]) - float(x[c]) * k));
}

}  // namespace

void norm_rope_forward(const NormRopeForward& a, gpu::Stream stream) {
  const auto [L, H, D] = a.x.dims<3>();
  if (a.x.numel() == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = L * H, H = H, R = D / 2](auto t) {
    using T = decltype(t);
    launch(norm_and_turn<T>, dim3(ceil_div(N, head_rows)), dim3(32 * head_rows), 0, stream, rows_of<T>(a.y),
           a.rstd.device_data<float>(), rows_of<T>(a.x), a.w.device_data<T>(), rows_of<float>(a.cos),
           rows_of<float>(a.sin), N, H, R, float(a.eps));
  });
}

void norm_rope_backward(const NormRopeBackward& a, gpu::Stream stream) {
  const auto [L, H, D] = a.x.dims<3>();
  if (a.x.numel() == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = L * H, H = H, D = D](auto t) {
    using T = decltype(t);
    const HeadGradient<T> g{rows_of<T>(a.dy),
                            rows_of<T>(a.x),
                            rows_of<float>(a.cos),
                            rows_of<float>(a.sin),
                            a.rstd.device_data<float>(),
                            H,
                            D / 2};
    if (a.dx)
      launch(turn_back_and_norm<T>, dim3(ceil_div(N, head_rows)), dim3(32 * head_rows), 0, stream, rows_of<T>(a.dx), g,
             a.w.device_data<T>(), N);
    add_sum_of_rows(scratch_of(a), a.dw, g, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
