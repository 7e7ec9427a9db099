// Rows on their way to the experts and back (kernels/experts.h). Whole numbers, and sums in the CPU's order: its bits.
//
//   expert_order, a stable counting sort without atomics; slots are cut into chunks of 1024:
//
//     count   chunk b in shared memory; thread e counts expert e        counts[b][e]
//               slots   3 0 3 | 1 0 0 | ...      counts   1 0 0 2 | 2 1 0 0 | ...
//     scan    one block: offsets_e, and counts[b][e] becomes the row where chunk b's first slot of e goes
//     place   chunk b again; thread e deals out its rows in order
//
//   combine   y_t = Σ_j w_tj x[slots_tj]: one thread a packet of y, j in order (kernels/cuda/elementwise.h)
//             dx[slot] = w dy,  dw = Σ_c dy x[slot]: one block a slot, a packet a thread (kernels/cuda/reduce.h)
//
// The sort reads its few whole numbers one by one: a chunk stands in shared memory, and counting takes its time.
// Sorting reads 8 bytes a slot twice and writes 16; 2 · 1024 comparisons a chunk and expert. combine, bf16: 2 k + 2
// bytes an element of y and 2 k FLOPs; backward 2 k (1 + 1 + 1) bytes and 3 k FLOPs.
#include "kernels/experts.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/reduce.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int chunk = slots_in_chunk, sort_threads = 128;

// f(i, id) is called by thread e = id mod 128 alone, for the chunk's slots in order; ids outside of [0, E) by nobody.
template <class F>
__device__ void for_own_slots(const std::int64_t* experts, std::int64_t R, std::int64_t E, F f) {
  SHARED(int, ids, chunk);
  const std::int64_t begin = std::int64_t(blockIdx.x) * chunk;
  const int count = R - begin < chunk ? static_cast<int>(R - begin) : chunk;
  for (int i = threadIdx.x; i < count; i += sort_threads) {
    const std::int64_t id = experts[begin + i];
    ids[i] = id >= 0 && id < E ? static_cast<int>(id) : -1;
  }
  __syncthreads();
  for (std::int64_t e = threadIdx.x; e < E; e += sort_threads) {
    for (int i = 0; i < count; ++i)
      if (ids[i] == e) f(begin + i, e);
  }
}

__global__ void count_slots(std::int64_t* counts, const std::int64_t* experts, std::int64_t R, std::int64_t E) {
  std::int64_t* mine = counts + blockIdx.x * E;
  for (std::int64_t e = threadIdx.x; e < E; e += sort_threads) mine[e] = 0;
  for_own_slots(experts, R, E, [&](std::int64_t, std::int64_t e) { ++mine[e]; });
}

__global__ void scan_counts(std::int64_t* counts, std::int64_t* offsets, std::int64_t B, std::int64_t E) {
  for (std::int64_t e = threadIdx.x; e < E; e += sort_threads) {
    std::int64_t total = 0;
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t here = counts[b * E + e];
      counts[b * E + e] = total;
      total += here;
    }
    offsets[e + 1] = total;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    offsets[0] = 0;
    for (std::int64_t e = 0; e < E; ++e) offsets[e + 1] += offsets[e];
  }
  __syncthreads();
  for (std::int64_t e = threadIdx.x; e < E; e += sort_threads)
    for (std::int64_t b = 0; b < B; ++b) counts[b * E + e] += offsets[e];
}

__global__ void place_slots(std::int64_t* tokens, std::int64_t* slots, std::int64_t* next, const std::int64_t* experts,
                            std::int64_t R, std::int64_t E, std::int64_t k) {
  std::int64_t* mine = next + blockIdx.x * E;
  for_own_slots(experts, R, E, [&](std::int64_t i, std::int64_t e) {
    const std::int64_t row = mine[e]++;
    slots[i] = row;
    tokens[row] = i / k;
  });
}

__global__ void add_counts(std::int64_t* counts, const std::int64_t* offsets, std::int64_t E) {
  const std::int64_t e = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (e < E) counts[e] += offsets[e + 1] - offsets[e];
}

template <class T>
struct Combine {
  DeviceRows<T> y, x;
  const float* weights;  // null: 1
  const std::int64_t* slots;
  std::int64_t k, R;
  template <int width>
  __device__ void at(std::int64_t t, std::int64_t p) const {
    float sum[width] = {};
    for (std::int64_t j = t * k; j < (t + 1) * k; ++j) {
      const bool there = slots[j] >= 0 && slots[j] < R;
      const auto v = there ? load<width>(x[slots[j]], p) : Packet<T, width>{};
      const float w = !there ? NAN : weights ? weights[j] : 1.f;
      UNROLL
      for (int i = 0; i < width; ++i) sum[i] += w * float(v.at[i]);
    }
    Packet<T, width> result;
    UNROLL
    for (int i = 0; i < width; ++i) result.at[i] = T(sum[i]);
    store<width>(y[t], p, result);
  }
};

template <class T>
__global__ void combine_slot(DeviceRows<T> dx_rows, float* dweights, DeviceRows<T> dy_rows, DeviceRows<T> x_rows,
                             const float* weights, const std::int64_t* slots, std::int64_t k, std::int64_t R,
                             Columns<packet_width<T>> columns) {
  const std::int64_t i = blockIdx.x, row = slots[i];
  const T* dy = dy_rows[i / k];
  if (row < 0 || row >= R) {
    if (dweights && threadIdx.x == 0) dweights[i] = NAN;
    return;
  }
  if (dweights) {
    const T* x = x_rows[row];
    const float sum = row_sum<float>(Block(), columns, [&](auto width, int p) {
      return each([](float dy, float x) { return dy * x; }, load<width>(dy, p), load<width>(x, p));
    });
    if (threadIdx.x == 0) dweights[i] = sum;
  }
  if (!dx_rows.data) return;
  T* dx = dx_rows[row];
  const float w = weights[i];
  walk(Block(), columns,
       [&](auto width, int p) { store<width>(dx, p, each([&](float dy) { return T(w * dy); }, load<width>(dy, p))); });
}

}  // namespace

void expert_order(const ExpertOrder& a, gpu::Stream stream) {
  const std::int64_t E = a.offsets.numel() - 1, R = a.tokens.numel(), B = (R + chunk - 1) / chunk;
  const std::int64_t* experts = a.experts.device_data<std::int64_t>();
  const Tensor counts = scratch_of(a);
  std::int64_t* table = counts.device_data<std::int64_t>();
  const dim3 blocks(static_cast<unsigned>(B)), threads(sort_threads);
  if (B > 0) launch(count_slots, blocks, threads, 0, stream, table, experts, R, E);
  launch(scan_counts, dim3(1), threads, 0, stream, table, a.offsets.device_data<std::int64_t>(), B, E);
  if (B > 0)
    launch(place_slots, blocks, threads, 0, stream, a.tokens.device_data<std::int64_t>(),
           a.slots.device_data<std::int64_t>(), table, experts, R, E, a.experts.dim(1));
}

void expert_counts(const ExpertCounts& a, gpu::Stream stream) {
  const std::int64_t E = a.counts.numel();
  if (E > 0)
    launch(add_counts, dim3(ceil_div(E, 128)), dim3(128), 0, stream, a.counts.device_data<std::int64_t>(),
           a.offsets.device_data<std::int64_t>(), E);
}

void combine_forward(const CombineForward& a, gpu::Stream stream) {
  const auto [N, C] = a.y.dims<2>();
  by_cuda_dtype(a.x.dtype(), [&, N = N, C = C](auto v) {
    using T = decltype(v);
    const auto y = rows_of<T>(a.y), x = rows_of<T>(a.x);
    const float* weights = a.weights ? a.weights.device_data<float>() : nullptr;
    for_each_packet<packet_width<T>>(
        Combine<T>{y, x, weights, a.slots.device_data<std::int64_t>(), a.slots.dim(1), a.x.dim(0)}, N, C, stream, y, x);
  });
}

void combine_backward(const CombineBackward& a, gpu::Stream stream) {
  const std::int64_t C = a.dy.dim(1), slots = a.slots.numel();
  if (slots == 0) return;
  by_cuda_dtype(a.dy.dtype(), [&](auto v) {
    using T = decltype(v);
    const auto dx = rows_of<T>(a.dx), dy = rows_of<T>(a.dy), x = rows_of<T>(a.x);
    launch(combine_slot<T>, dim3(static_cast<unsigned>(slots)), dim3(row_threads(C)), 0, stream, dx,
           a.dweights ? a.dweights.device_data<float>() : nullptr, dy, x, a.weights.device_data<float>(),
           a.slots.device_data<std::int64_t>(), a.slots.dim(1), a.x.dim(0), columns_of<packet_width<T>>(C, dx, dy, x));
  });
}

}  // namespace ov::kernels::OV_CUDA
