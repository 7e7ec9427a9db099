// Cross entropy on given logits (kernels/cross_entropy.h). Sums in the order of base/sum.h: the CPU's bits.
//
//   ce_n = s_n - (z_n[target_n] - m_n),  m_n = max_v z,  s_n = log Σ_v exp(z - m_n),  loss = Σ_n w_n ce_n / D
//   dz = dloss w_n / D (exp((z - m_n) - s_n) - [v = target_n])
//
//   row n of z | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...     one block a row, 16 bytes a packet
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...     (kernels/cuda/reduce.h)
//   loss         one block over the rows' losses: few numbers, one by one
//
// bf16: forward 2 + 2 bytes an element, the second from the cache in part; backward 2 + 2; about 25 FLOPs, in exp.
#include "kernels/cross_entropy.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/weighted_mean.h"

namespace ov::kernels::OV_CUDA {
namespace {

// One block a row: lse_n and ce_n. A target outside of [0, V) gives NaN, since a kernel cannot throw.
template <class T>
__global__ void row_losses(float* token_loss, float* lse, DeviceRows<T> logits, const std::int64_t* targets,
                           const float* weights, Columns<packet_width<T>> columns) {
  const std::int64_t n = blockIdx.x;
  if (weights[n] == 0) {
    if (threadIdx.x == 0) token_loss[n] = lse[2 * n] = lse[2 * n + 1] = 0;
    return;
  }
  const T* z = logits[n];
  float top = -INFINITY;
  walk(Block(), columns, [&](auto width, int p) {
    for (const float x : each([](float z) { return z; }, load<width>(z, p)).at) top = x > top ? x : top;
  });
  top = block_max(top);
  const float total = row_sum<float>(Block(), columns, [&](auto width, int p) {
    return each([&](float z) { return math::exp(z - top); }, load<width>(z, p));
  });
  if (threadIdx.x > 0) return;
  const std::int64_t target = targets[n];
  const float log_sum = math::log(total);
  lse[2 * n] = top;
  lse[2 * n + 1] = log_sum;
  token_loss[n] = target >= 0 && target < columns.count ? log_sum - (float(z[target]) - top) : NAN;
}

template <class T>
__global__ void gradient(DeviceRows<T> dlogits, DeviceRows<T> logits, const std::int64_t* targets, const float* weights,
                         const float* lse, const float* dloss, Columns<packet_width<T>> columns, float D) {
  const std::int64_t n = blockIdx.x;
  const float w = weights[n] * (D == 0 ? 0.f : dloss[0] / D);
  const T* z = logits[n];
  T* dz = dlogits[n];
  const std::int64_t target = w == 0 ? -1 : targets[n];
  const float top = lse[2 * n], log_sum = lse[2 * n + 1];
  walk(Block(), columns, [&](auto width, int p) {
    auto v = load<width>(z, p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float probability = w == 0 ? 0.f : math::exp((float(v.at[i]) - top) - log_sum);
      v.at[i] = T(w == 0 ? 0.f : w * (p * width + i == target ? probability - 1 : probability));
    }
    store<width>(dz, p, v);
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyForward& a, gpu::Stream stream) {
  const auto [N, V] = a.logits.dims<2>();
  float* token_loss = a.token_loss.device_data<float>();
  const float* weights = a.weights.device_data<float>();
  by_cuda_dtype(a.logits.dtype(), [&, N = N, V = V](auto t) {
    using T = decltype(t);
    const auto z = rows_of<T>(a.logits);
    if (N > 0)
      launch(row_losses<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(V)), 0, stream, token_loss,
             a.lse.device_data<float>(), z, a.targets.device_data<std::int64_t>(), weights,
             columns_of<packet_width<T>>(V, z));
  });
  weighted_mean(a.loss, weights, token_loss, N, a.denominator, stream);
}

void cross_entropy_backward(const CrossEntropyBackward& a, gpu::Stream stream) {
  const auto [N, V] = a.logits.dims<2>();
  if (N == 0) return;
  by_cuda_dtype(a.logits.dtype(), [&, N = N, V = V](auto t) {
    using T = decltype(t);
    const auto dz = rows_of<T>(a.dlogits), z = rows_of<T>(a.logits);
    launch(gradient<T>, dim3(static_cast<unsigned>(N)), dim3(row_threads(V)), 0, stream, dz, z,
           a.targets.device_data<std::int64_t>(), a.weights.device_data<float>(), a.lse.device_data<float>(),
           a.dloss.device_data<float>(), columns_of<packet_width<T>>(V, dz, z), float(a.denominator));
  });
}

void weighted_mean(const WeightedMean& a, gpu::Stream stream) {
  weighted_mean(a.mean, a.weights.device_data<float>(), a.values.device_data<float>(), a.values.numel(), a.denominator,
                stream);
}

}  // namespace ov::kernels::OV_CUDA
