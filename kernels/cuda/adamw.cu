// AdamW and the gradient norm (kernels/adamw.h), in the CPU's operations and order of sums: its bits.
//
//   g ← clip grad,  m ← β1 m + (1-β1) g,  v ← β2 v + (1-β2) g²,  w ← w (1 - lr wd) - step m / (√v / correction + eps)
//   partial_k = Σ x² over chunk k,  norm = √Σ_k partial_k,  clip = min(1, limit / (norm + 1e-6))
//
//   grad m v w | 4 elements | 4 elements | ...   one thread a packet of each, 16 bytes; the same 4 of a bf16 parameter
//   x          | chunk 0: block 0, 4096 elements | chunk 1: block 1 | ...       (kernels/cuda/reduce.h), then one block
//
// One launch updates a whole range of the flat buffer. f32: 16 bytes read and 12 written an element, with a bf16
// parameter 2 more; about 13 FLOPs, a root and two quotients. squared_sums: size(x) bytes and 2 f64 FLOPs an element.
#include "kernels/adamw.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
struct Update {
  DeviceRows<T> param;
  DeviceRows<float> master, m, v, grad;  // master is null where the parameter is its own
  const double* clip;
  float b1, b2, c1, c2, eps, keep, step_size, correction;

  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    if (!std::isfinite(*clip)) return;
    const float factor = float(*clip);
    const auto g = load<width>(grad[n], p);
    auto mean = load<width>(m[n], p), square = load<width>(v[n], p), w = load<width>(weights()[n], p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float gi = g.at[i] * factor;
      mean.at[i] = b1 * mean.at[i] + c1 * gi;
      square.at[i] = b2 * square.at[i] + c2 * (gi * gi);
      w.at[i] = w.at[i] * keep - step_size * (mean.at[i] / (std::sqrt(square.at[i]) / correction + eps));
    }
    store<width>(m[n], p, mean);
    store<width>(v[n], p, square);
    store<width>(weights()[n], p, w);
    if constexpr (!std::is_same_v<T, float>) {
      Packet<T, width> rounded;
      UNROLL
      for (int i = 0; i < width; ++i) rounded.at[i] = T(w.at[i]);
      store<width>(param[n], p, rounded);
    }
  }
  __device__ DeviceRows<float> weights() const {
    if constexpr (std::is_same_v<T, float>) return param;
    else return master;
  }
};

// βᵗ by squaring, as the CPU has it.
double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

template <class T>
__global__ void chunk_squares(double* partial, const T* x, std::int64_t N) {
  const T* chunk = x + blockIdx.x * norm_chunk;
  const std::int64_t left = N - blockIdx.x * norm_chunk;
  const double sum = row_sum<double>(left < norm_chunk ? left : norm_chunk,
                                     [&](std::int64_t i) { return double(float(chunk[i])) * double(float(chunk[i])); });
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void clip_of(double* norm, double* clip, const double* partial, std::int64_t K, double limit) {
  const double total = std::sqrt(row_sum<double>(K, [&](std::int64_t k) { return partial[k]; }));
  if (threadIdx.x > 0) return;
  *norm = total;
  const double factor = limit / (total + 1e-6);
  *clip = !std::isfinite(total) ? double(NAN) : limit > 0 && factor < 1 ? factor : 1.0;
}

}  // namespace

void adamw(const Adamw& a, gpu::Stream stream) {
  by_cuda_dtype(a.param.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto param = rows_of<T>(a.param);
    const auto master = rows_of<float>(a.master), m = rows_of<float>(a.m), v = rows_of<float>(a.v);
    const auto grad = rows_of<float>(a.grad);
    const Update<T> update{.param = param,
                           .master = master,
                           .m = m,
                           .v = v,
                           .grad = grad,
                           .clip = a.clip.device_data<double>(),
                           .b1 = float(a.beta1),
                           .b2 = float(a.beta2),
                           .c1 = float(1 - a.beta1),
                           .c2 = float(1 - a.beta2),
                           .eps = float(a.eps),
                           .keep = float(1 - a.lr * a.weight_decay),
                           .step_size = float(a.lr / (1 - power(a.beta1, a.step))),
                           .correction = float(std::sqrt(1 - power(a.beta2, a.step)))};
    for_each_packet<packet_width<float>>(update, 1, a.param.numel(), stream, param, master, m, v, grad);
  });
}

void squared_sums(const SquaredSums& a, gpu::Stream stream) {
  const std::int64_t N = a.x.numel(), K = a.partial.numel();
  if (K == 0) return;
  by_cuda_dtype(a.x.dtype(), [&](auto t) {
    using T = decltype(t);
    launch(chunk_squares<T>, dim3(static_cast<unsigned>(K)), dim3(row_threads(std::min(N, norm_chunk))), 0, stream,
           a.partial.device_data<double>(), a.x.device_data<T>(), N);
  });
}

void clip_factor(const ClipFactor& a, gpu::Stream stream) {
  const std::int64_t K = a.partial.numel();
  launch(clip_of, dim3(1), dim3(row_threads(K)), 0, stream, a.norm.device_data<double>(), a.clip.device_data<double>(),
         a.partial.device_data<double>(), K, a.limit);
}

}  // namespace ov::kernels::OV_CUDA
