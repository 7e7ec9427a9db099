// The loss of cluster discrimination (kernels/cluster_loss.h). Sums in the order of base/sum.h: the CPU's bits.
//
//   l_r = log(1 + Σ_positive n exp(-z)) + log(1 + Σ_negative exp(z)),  loss = Σ_r w_r l_r / D
//   dz = dloss w_r / D · (-n exp(-z) / (1 + P_r) at a positive, exp(z) / (1 + S_r) at a negative, 0 elsewhere)
//
//   row r of z | packet 0 | packet 1 | ... | packet 255 | packet 256 | ...   one block a row, for the maxima, the sums
//              | thread 0 | thread 1 | ... | thread 255 | thread 0   | ...   and the ranks of the hits; 16 bytes of z
//   roles        the same packets, of a byte a class                         a packet (kernels/cuda/reduce.h)
//   dz           one thread a packet (kernels/cuda/elementwise.h)
//
// bf16: forward 3 · 3 bytes an element, from the cache after the first pass; backward 3 + 2; about 40 FLOPs, in exp.
// Hits, and classes above a label: 3 bytes for every pair of a positive and a class.
#include "kernels/cluster_loss.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/weighted_mean.h"
#include "kernels/gpu/scratch.h"
#include "kernels/margin_logits.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class T>
__global__ void row_losses(float* row_loss, DeviceRows<float> lse_rows, DeviceRows<T> z_rows,
                           DeviceRows<std::uint8_t> role_rows, const float* weights, Columns<packet_width<T>> columns) {
  const std::int64_t r = blockIdx.x;
  float* lse = lse_rows[r];
  if (weights[r] == 0) {
    if (threadIdx.x == 0) row_loss[r] = lse[0] = lse[1] = 0;
    return;
  }
  const T* z = z_rows[r];
  const std::uint8_t* roles = role_rows[r];
  float lowest = 0, highest = 0;  // the logit 0 is one of the terms
  walk(Block(), columns, [&](auto width, int packet) {
    const auto v = load<width>(z, packet);
    const auto role = load<width>(roles, packet);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float x = float(v.at[i]);
      if (role.at[i] >= role::positive) lowest = x < lowest ? x : lowest;
      if (role.at[i] == role::negative) highest = x > highest ? x : highest;
    }
  });
  lowest = -block_max(-lowest), highest = block_max(highest);
  const float p = row_sum<float>(Block(), columns, [&](auto width, int packet) {
    const auto term = [&](float x, std::uint8_t role) {
      return role >= role::positive ? float(role - 1) * math::exp(lowest - x) : 0.f;
    };
    return each(term, load<width>(z, packet), load<width>(roles, packet));
  });
  const float n = row_sum<float>(Block(), columns, [&](auto width, int packet) {
    const auto term = [&](float x, std::uint8_t role) { return role == role::negative ? math::exp(x - highest) : 0.f; };
    return each(term, load<width>(z, packet), load<width>(roles, packet));
  });
  if (threadIdx.x > 0) return;
  lse[0] = math::log(math::exp(lowest) + p) - lowest;
  lse[1] = math::log(math::exp(-highest) + n) + highest;
  row_loss[r] = lse[0] + lse[1];
}

template <class T>
struct Gradient {
  DeviceRows<T> dz, z;
  DeviceRows<std::uint8_t> roles;
  DeviceRows<float> lse;
  const float *weights, *dloss;
  float D;
  template <int width>
  __device__ void at(std::int64_t r, std::int64_t p) const {
    const float w = weights[r] * (D == 0 ? 0.f : dloss[0] / D), positive = lse[r][0], negative = lse[r][1];
    auto v = load<width>(z[r], p);
    const auto role = load<width>(roles[r], p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float x = float(v.at[i]);
      float d = 0;
      if (w != 0 && role.at[i] >= role::positive) d = -w * float(role.at[i] - 1) * math::exp(-x - positive);
      if (w != 0 && role.at[i] == role::negative) d = w * math::exp(x - negative);
      v.at[i] = T(d);
    }
    store<width>(dz[r], p, v);
  }
};

constexpr int hit_threads = 128;

// How many classes of a row stand above class s, whose value is `own`: all threads of the block count, all get it.
template <class T, int most>
__device__ std::int64_t classes_above(const T* cos, const std::uint8_t* roles, Columns<most> columns, float own,
                                      std::int64_t s) {
  std::int64_t above = 0;
  walk(Block(), columns, [&](auto width, int p) {
    const auto v = load<width>(cos, p);
    const auto role = load<width>(roles, p);
    UNROLL
    for (int i = 0; i < width; ++i) {
      const float x = float(v.at[i]);
      above += role.at[i] != role::none && (x > own || (x == own && p * width + i < s));
    }
  });
  return block_count(above);
}

// found_r: how many positive classes of row r are among its k_r highest. A block looks for positives among 128 classes
// at once; for each, its threads count the classes above it.
template <class T>
__global__ void row_hits(std::int64_t* found, DeviceRows<T> cos_rows, DeviceRows<std::uint8_t> role_rows,
                         const std::int64_t* wanted, Columns<packet_width<T>> columns) {
  SHARED(int, is_positive, hit_threads);
  const std::int64_t r = blockIdx.x;
  const T* cos = cos_rows[r];
  const std::uint8_t* roles = role_rows[r];
  std::int64_t hits = 0;
  for (int begin = 0; begin < columns.count; begin += hit_threads) {
    const int mine = begin + threadIdx.x;
    is_positive[threadIdx.x] = mine < columns.count && roles[mine] >= role::positive;
    __syncthreads();
    for (int i = 0; i < hit_threads; ++i) {
      if (!is_positive[i]) continue;
      hits += classes_above(cos, roles, columns, float(cos[begin + i]), begin + i) < wanted[r];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) found[r] = hits;
}

__global__ void add_hits(double* hits, const std::int64_t* found, std::int64_t R) {
  std::int64_t all = 0;
  for (std::int64_t r = threadIdx.x; r < R; r += hit_threads) all += found[r];
  all = block_count(all);
  if (threadIdx.x == 0) *hits += static_cast<double>(all);
}

// A block a label.
template <class T>
__global__ void row_above(std::int64_t* found, DeviceRows<T> cos_rows, DeviceRows<std::uint8_t> role_rows,
                          const T* value, const std::int64_t* row, const std::int64_t* column,
                          Columns<packet_width<T>> columns) {
  const std::int64_t p = blockIdx.x;
  const std::int64_t above = classes_above(cos_rows[row[p]], role_rows[row[p]], columns, float(value[p]), column[p]);
  if (threadIdx.x == 0) found[p] += above;
}

}  // namespace

void cluster_loss_forward(const ClusterLossForward& a, gpu::Stream stream) {
  const auto [R, S] = a.logits.dims<2>();
  float* row_loss = a.row_loss.device_data<float>();
  const float* weights = a.weights.device_data<float>();
  by_cuda_dtype(a.logits.dtype(), [&, R = R, S = S](auto t) {
    using T = decltype(t);
    const auto z = rows_of<T>(a.logits);
    const auto roles = rows_of<std::uint8_t>(a.roles);
    if (R > 0)
      launch(row_losses<T>, dim3(static_cast<unsigned>(R)), dim3(row_threads(S)), 0, stream, row_loss,
             rows_of<float>(a.lse), z, roles, weights, columns_of<packet_width<T>>(S, z, roles));
  });
  weighted_mean(a.loss, weights, row_loss, R, a.denominator, stream);
}

void cluster_loss_backward(const ClusterLossBackward& a, gpu::Stream stream) {
  const auto [R, S] = a.logits.dims<2>();
  by_cuda_dtype(a.logits.dtype(), [&, R = R, S = S](auto t) {
    using T = decltype(t);
    const auto dz = rows_of<T>(a.dlogits), z = rows_of<T>(a.logits);
    const auto roles = rows_of<std::uint8_t>(a.roles);
    for_each_packet<packet_width<T>>(Gradient<T>{dz, z, roles, rows_of<float>(a.lse), a.weights.device_data<float>(),
                                                 a.dloss.device_data<float>(), float(a.denominator)},
                                     R, S, stream, dz, z, roles);
  });
}

void cluster_hits(const ClusterHits& a, gpu::Stream stream) {
  const auto [R, S] = a.cos.dims<2>();
  if (R == 0) return;
  const Tensor found = scratch_of(a);
  std::int64_t* of_row = found.device_data<std::int64_t>();
  by_cuda_dtype(a.cos.dtype(), [&, R = R, S = S](auto t) {
    using T = decltype(t);
    const auto cos = rows_of<T>(a.cos);
    const auto roles = rows_of<std::uint8_t>(a.roles);
    launch(row_hits<T>, dim3(static_cast<unsigned>(R)), dim3(hit_threads), 0, stream, of_row, cos, roles,
           a.k.device_data<std::int64_t>(), columns_of<packet_width<T>>(S, cos, roles));
  });
  launch(add_hits, dim3(1), dim3(hit_threads), 0, stream, a.hits.device_data<double>(), of_row, R);
}

void cluster_above(const ClusterAbove& a, gpu::Stream stream) {
  const std::int64_t P = a.value.numel(), S = a.cos.dim(1);
  if (P == 0) return;
  by_cuda_dtype(a.cos.dtype(), [&](auto t) {
    using T = decltype(t);
    const auto cos = rows_of<T>(a.cos);
    const auto roles = rows_of<std::uint8_t>(a.roles);
    launch(row_above<T>, dim3(static_cast<unsigned>(P)), dim3(hit_threads), 0, stream,
           a.above.device_data<std::int64_t>(), cos, roles, a.value.device_data<T>(), a.row.device_data<std::int64_t>(),
           a.column.device_data<std::int64_t>(), columns_of<packet_width<T>>(S, cos, roles));
  });
}

}  // namespace ov::kernels::OV_CUDA
