// The RMS norm of a head's rows and their rotation (kernels/norm_rope.h). Sums in the order of base/sum.h: the CPU's
// bits.
//
//   u = w (x r),  y_j = u_j cos_j - u_{j+R} sin_j,  y_{j+R} = u_{j+R} cos_j + u_j sin_j,  R = D/2
//   du = dy turned back,  dx = r (du w - x r² mean(du w x)),  dw += Σ_n du x r
//
//   head row n = (t,h)   | packet 0 | packet 1 | ... | packet 15 |       16 lanes a row, 16 rows a block, and in bf16
//     the sum, dx        | lane 0   | lane 1   | ... | lane 15   |       at D = 128 a packet of 16 bytes a lane
//     y                  | l. 0 | l. 1 | .. | l. 15 | l. 0 | .. | l. 15 |  4 pairs a lane, so that all have some:
//                        | j ->              R |   R + j ->       D |      8 bytes of each half, 16 of cos and of sin
//   dw                   64 rows a block, one thread a packet of columns, then a tree  (kernels/cuda/row_sums.h)
//
// A row of 128 is 256 bytes in bf16: what the sum reads is in the first cache when the rotation reads it again. A
// packet lies within one half of its row; where R does not allow that, lanes take single numbers. bf16:
// forward 2 + 2 bytes an element, where rmsnorm and rope move 8; backward 2 + 2 + 2 for dx and 2 + 2 for dw; 7 and 15
// FLOPs. The table's 8 bytes a pair are read by all heads of a token.
#include "kernels/norm_rope.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

// 16 lanes a row. `half`: the R columns of each half.
template <class T>
__global__ void norm_and_turn(DeviceRows<T> y_rows, float* rstd, DeviceRows<T> x_rows, const T* w,
                              DeviceRows<float> cos_rows, DeviceRows<float> sin_rows, std::int64_t N, std::int64_t H,
                              Columns<packet_width<T>> half, float eps) {
  const HalfWarp team;
  const std::int64_t n = std::int64_t(blockIdx.x) * HalfWarp::rows + team.row();
  if (n >= N) return;
  const std::int64_t t = DeviceRows<T>::quotient(n, H);
  const T* x = x_rows[n];
  T* y = y_rows[n];
  const float *cos = cos_rows[t], *sin = sin_rows[t];
  const Columns<packet_width<T>> columns{2 * half.count, half.wide};
  const float square = row_sum<float>(
      team, columns, [&](auto width, int p) { return each([](float x) { return x * x; }, load<width>(x, p)); });
  const float r = math::rsqrt(square / float(columns.count) + eps);
  const Columns<4> pairs{half.count, half.wide};  // 64 of them are one packet a lane
  walk(team, pairs, [&](auto width, int p) {
    const int q = p + pairs.count / width;
    const auto scaled = [&](float w, float x) { return float(T(w * (x * r))); };
    const auto first = each(scaled, load<width>(w, p), load<width>(x, p));
    const auto second = each(scaled, load<width>(w, q), load<width>(x, q));
    const auto c = load<width>(cos, p), s = load<width>(sin, p);
    store<width>(y, p, each([](float u, float v, float c, float s) { return T(u * c - v * s); }, first, second, c, s));
    store<width>(y, q, each([](float u, float v, float c, float s) { return T(v * c + u * s); }, first, second, c, s));
  });
  if (team.thread() == 0) rstd[n] = r;
}

// du of a row, packet by packet: both halves of its pairs are read.
template <class T>
struct TurnedBack {
  const T* dy;
  const float *cos, *sin;
  int R;
  template <int width>
  __device__ Packet<float, width> at(int p) const {
    const int pairs = R / width, j = p < pairs ? p : p - pairs;
    const auto turned = [&](float first, float second, float c, float s) {
      return float(p < pairs ? T(first * c + second * s) : T(second * c - first * s));
    };
    return each(turned, load<width>(dy, j), load<width>(dy, j + pairs), load<width>(cos, j), load<width>(sin, j));
  }
};

// What du of any row is made of; the gradient of w is a sum over these.
template <class T>
struct HeadGradient {
  DeviceRows<T> dy, x;
  DeviceRows<float> cos, sin;
  const float* rstd;
  std::int64_t H;
  int R;
  __device__ TurnedBack<T> row(std::int64_t n) const {
    const std::int64_t t = DeviceRows<T>::quotient(n, H);
    return {dy[n], cos[t], sin[t], R};
  }
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t p) const {
    const float r = rstd[n];
    const auto du = row(n).template at<width>(static_cast<int>(p));
    return each([&](float du, float x) { return du * x * r; }, du, load<width>(x[n], p));
  }
};

template <class T>
__global__ void turn_back_and_norm(DeviceRows<T> dx_rows, HeadGradient<T> g, const T* w, std::int64_t N,
                                   Columns<packet_width<T>> columns) {
  const HalfWarp team;
  const std::int64_t n = std::int64_t(blockIdx.x) * HalfWarp::rows + team.row();
  if (n >= N) return;
  const TurnedBack<T> du = g.row(n);
  const T* x = g.x[n];
  T* dx = dx_rows[n];
  const float r = g.rstd[n];
  const float along = row_sum<float>(team, columns, [&](auto width, int p) {
    const auto product = [](float du, float w, float x) { return du * w * x; };
    return each(product, du.template at<width>(p), load<width>(w, p), load<width>(x, p));
  });
  const float k = r * r / float(columns.count) * along;
  walk(team, columns, [&](auto width, int p) {
    const auto slope = [&](float du, float w, float x) { return T(r * (du * w - x * k)); };
    store<width>(dx, p, each(slope, du.template at<width>(p), load<width>(w, p), load<width>(x, p)));
  });
}

}  // namespace

void norm_rope_forward(const NormRopeForward& a, gpu::Stream stream) {
  const auto [L, H, D] = a.x.dims<3>();
  if (a.x.numel() == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = L * H, H = H, R = D / 2](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    const auto cos = rows_of<float>(a.cos), sin = rows_of<float>(a.sin);
    const T* w = a.w.device_data<T>();
    launch(norm_and_turn<T>, dim3(ceil_div(N, HalfWarp::rows)), dim3(max_row_threads), 0, stream, y,
           a.rstd.device_data<float>(), x, w, cos, sin, N, H, columns_of<packet_width<T>>(R, y, x, w, cos, sin),
           float(a.eps));
  });
}

void norm_rope_backward(const NormRopeBackward& a, gpu::Stream stream) {
  const auto [L, H, D] = a.x.dims<3>();
  if (a.x.numel() == 0) return;
  by_cuda_dtype(a.x.dtype(), [&, N = L * H, H = H, D = D](auto t) {
    using T = decltype(t);
    constexpr int most = packet_width<T>;
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    const auto cos = rows_of<float>(a.cos), sin = rows_of<float>(a.sin);
    const T* w = a.w.device_data<T>();
    const int R = static_cast<int>(D / 2);
    const HeadGradient<T> g{dy, x, cos, sin, a.rstd.device_data<float>(), H, R};
    // A packet lies in one half of its row.
    const bool wide = columns_of<most>(R, dx, dy, x, cos, sin, w).wide;
    if (a.dx)
      launch(turn_back_and_norm<T>, dim3(ceil_div(N, HalfWarp::rows)), dim3(max_row_threads), 0, stream, dx, g, w, N,
             Columns<most>{2 * R, wide});
    add_sum_of_rows<most>(scratch_of(a), a.dw, g, wide, stream);
  });
}

}  // namespace ov::kernels::OV_CUDA
