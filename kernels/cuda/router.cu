// The router of a mixture of experts, and its balance (kernels/router.h). Sums in the order of base/sum.h and
// kernels/cpu/row_sums.h: the CPU's bits.
//
//   p = softmax(z),  S the k largest, the first of equal ones, ascending,  w_j = p[e_j] / s,  s = Σ_S p
//   dp[e_j] += (dw_j - Σ_i dw_i w_i) / s,  dz = p (dp - Σ dp p)
//   loss += factor Σ_e n_e Σ_t p_te,  dp_te = dloss factor n_e
//
//   token t | expert 0 -> lane 0 | ... | expert 31 -> lane 31 | expert 32 -> lane 0 | ...   one warp a token, four a
//                                                                                         block, rows in shared memory
//
// An expert is chosen when fewer than k stand before it, which a lane counts for each of its own: E² / 32 comparisons
// and no order of insertion. NaN has no rank, so a row with one goes through the CPU's insertions, by one lane. A row
// of 128 experts is read once, 4 numbers a lane and one by one: ranks take the time. Sums over tokens go by packets.
//
// f32: forward 4 + 4 bytes an element, backward 4 + 4 + 4; about 2 E + 40 FLOPs and comparisons an element.
#include "kernels/router.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/row_sums.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int tokens = 4;  // of a block

// Bytes of shared memory for the rows of one block: a float and an int for every expert.
std::size_t rows_bytes(std::int64_t E) { return static_cast<std::size_t>(tokens * E) * 2 * sizeof(float); }

// The k largest of z [E] as kernels/cpu/router.cpp finds them, whatever z holds; one lane.
template <class T>
__device__ void insert(const T* z, std::int64_t E, std::int64_t k, std::int64_t* chosen) {
  for (std::int64_t e = 0; e < E; ++e) {
    const float value = float(z[e]);
    if (e >= k && !(value > float(z[chosen[k - 1]]))) continue;
    std::int64_t j = e < k ? e : k - 1;
    for (; j > 0 && value > float(z[chosen[j - 1]]); --j) chosen[j] = chosen[j - 1];
    chosen[j] = e;
  }
  for (std::int64_t i = 1; i < k; ++i) {
    const std::int64_t e = chosen[i];
    std::int64_t j = i;
    for (; j > 0 && chosen[j - 1] > e; --j) chosen[j] = chosen[j - 1];
    chosen[j] = e;
  }
}

template <class T>
__global__ void forward(DeviceRows<float> p_rows, DeviceRows<float> w_rows, DeviceRows<std::int64_t> chosen_rows,
                        DeviceRows<T> z_rows, DeviceRows<std::int64_t> forced_rows, std::int64_t N, std::int64_t E,
                        std::int64_t k, int normalise) {
  DYN_SHARED(float, shared);
  const int lane = threadIdx.x;
  const std::int64_t t = std::int64_t(blockIdx.x) * tokens + threadIdx.y, row = threadIdx.y * 2 * E, flags = row + E;
  if (t >= N) return;  // a whole warp
  const T* z = z_rows[t];
  std::int64_t* chosen = chosen_rows[t];

  float top = float(z[0]);
  int any_nan = 0;
  for (std::int64_t e = lane; e < E; e += 32) {
    const float x = float(z[e]);
    shared[row + e] = x;
    top = x > top ? x : top;
    any_nan |= x != x;
  }
  for (int step = 16; step; step /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, top, step);
    top = other > top ? other : top;
    any_nan |= __shfl_xor_sync(0xffffffffu, any_nan, step);
  }
  if (forced_rows.data) {
    for (std::int64_t j = lane; j < k; j += 32) chosen[j] = forced_rows[t][j];
  } else if (any_nan) {
    if (lane == 0) insert(z, E, k, chosen);
  } else {
    for (std::int64_t e = lane; e < E; e += 32) {
      const float x = shared[row + e];
      std::int64_t before = 0;
      for (std::int64_t i = 0; i < E; ++i) {
        const float other = shared[row + i];
        before += other > x || (other == x && i < e);
      }
      shared[flags + e] = before < k;
    }
    __syncwarp();
    for (std::int64_t e = lane; e < E; e += 32) {
      if (shared[flags + e] == 0) continue;
      std::int64_t j = 0;
      for (std::int64_t i = 0; i < e; ++i) j += shared[flags + i] != 0;
      chosen[j] = e;
    }
  }
  __syncwarp();

  for (std::int64_t e = lane; e < E; e += 32) shared[row + e] = math::exp(shared[row + e] - top);
  __syncwarp();
  const float all = warp_sum(E, lane, [&](std::int64_t e) { return shared[row + e]; });
  for (std::int64_t e = lane; e < E; e += 32) {
    const float p = shared[row + e] / all;
    shared[row + e] = p_rows[t][e] = p;
  }
  __syncwarp();
  const float s = normalise ? warp_sum(k, lane, [&](std::int64_t j) { return shared[row + chosen[j]]; }) : 1.f;
  for (std::int64_t j = lane; j < k; j += 32) w_rows[t][j] = shared[row + chosen[j]] / s;
}

template <class T>
__global__ void backward(DeviceRows<T> dz_rows, DeviceRows<float> dp_rows, DeviceRows<float> dw_rows,
                         DeviceRows<float> p_rows, DeviceRows<std::int64_t> chosen_rows, std::int64_t N, std::int64_t E,
                         std::int64_t k, int normalise) {
  DYN_SHARED(float, shared);
  const int lane = threadIdx.x;
  const std::int64_t t = std::int64_t(blockIdx.x) * tokens + threadIdx.y, row = threadIdx.y * 2 * E;
  if (t >= N) return;  // a whole warp
  const float* p = p_rows[t];
  for (std::int64_t e = lane; e < E; e += 32) shared[row + e] = dp_rows.data ? dp_rows[t][e] : 0.f;
  __syncwarp();
  if (dw_rows.data) {
    const float* dw = dw_rows[t];
    const std::int64_t* chosen = chosen_rows[t];
    const float s = normalise ? warp_sum(k, lane, [&](std::int64_t j) { return p[chosen[j]]; }) : 1.f;
    const float mean = normalise ? warp_sum(k, lane, [&](std::int64_t j) { return dw[j] * p[chosen[j]]; }) / s : 0.f;
    if (lane == 0)
      for (std::int64_t j = 0; j < k; ++j) shared[row + chosen[j]] += (dw[j] - mean) / s;
    __syncwarp();
  }
  const float mean = warp_sum(E, lane, [&](std::int64_t e) { return shared[row + e] * p[e]; });
  for (std::int64_t e = lane; e < E; e += 32) dz_rows[t][e] = T(p[e] * (shared[row + e] - mean));
}

struct Probability {
  DeviceRows<float> p;
  template <int width>
  __device__ Packet<float, width> at(std::int64_t n, std::int64_t packet) const {
    return load<width>(p[n], packet);
  }
};

template <class A>
__global__ void add_balance(A* loss, const A* total, const std::int64_t* counts, double factor, std::int64_t E) {
  const A sum = row_sum<A>(E, [&](std::int64_t e) { return A(factor * static_cast<double>(counts[e])) * total[e]; });
  if (threadIdx.x == 0) *loss += sum;
}

struct BalanceGradient {
  DeviceRows<float> dp;
  const float* dloss;
  const std::int64_t* counts;
  double factor;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    Packet<float, width> d;
    UNROLL
    for (int i = 0; i < width; ++i) d.at[i] = *dloss * float(factor * static_cast<double>(counts[p * width + i]));
    store<width>(dp[n], p, d);
  }
};

}  // namespace

void router_forward(const RouterForward& a, gpu::Stream stream) {
  const auto [N, E] = a.logits.dims<2>();
  if (N == 0 || E == 0) return;
  by_cuda_dtype(a.logits.dtype(), [&, N = N, E = E](auto v) {
    using T = decltype(v);
    launch(forward<T>, dim3(ceil_div(N, tokens)), dim3(32, tokens), rows_bytes(E), stream,
           rows_of<float>(a.probabilities), rows_of<float>(a.weights), rows_of<std::int64_t>(a.experts),
           rows_of<T>(a.logits), rows_of<std::int64_t>(a.forced), N, E, a.experts.dim(1), int(a.normalise));
  });
}

void router_backward(const RouterBackward& a, gpu::Stream stream) {
  const auto [N, E] = a.dlogits.dims<2>();
  if (N == 0 || E == 0) return;
  by_cuda_dtype(a.dlogits.dtype(), [&, N = N, E = E](auto v) {
    using T = decltype(v);
    launch(backward<T>, dim3(ceil_div(N, tokens)), dim3(32, tokens), rows_bytes(E), stream, rows_of<T>(a.dlogits),
           rows_of<float>(a.dprobabilities), rows_of<float>(a.dweights), rows_of<float>(a.probabilities),
           rows_of<std::int64_t>(a.experts), N, E, a.experts.dim(1), int(a.normalise));
  });
}

void load_balance_forward(const LoadBalanceForward& a, gpu::Stream stream) {
  const BalanceScratch space = scratch_of(a);
  const Tensor& total = space.total;  // Σ_t p_te
  const std::int64_t E = total.dim(0);
  fill({.y = total, .value = 0}, stream);
  const auto p = rows_of<float>(a.probabilities);
  constexpr int most = packet_width<float>;
  add_sum_of_rows<most>(space.sums, total, Probability{p}, in_packets<most>(p, E), stream);
  launch(add_balance<float>, dim3(1), dim3(row_threads(E)), 0, stream, a.loss.device_data<float>(),
         total.device_data<float>(), a.counts.device_data<std::int64_t>(), a.factor, E);
}

void load_balance_backward(const LoadBalanceBackward& a, gpu::Stream stream) {
  const auto [N, E] = a.dprobabilities.dims<2>();
  const auto dp = rows_of<float>(a.dprobabilities);
  for_each_packet<packet_width<float>>(
      BalanceGradient{dp, a.dloss.device_data<float>(), a.counts.device_data<std::int64_t>(), a.factor}, N, E, stream,
      dp);
}

}  // namespace ov::kernels::OV_CUDA
