// The gradient of the embedding (kernels/rows.h), without atomics: dtable[id] += Σ of dy_t over the t with ids_t = id,
// in order of t. That is the CPU's order, hence its bits.
//
//   order   the positions t sorted by (ids_t, t): t stands at the number of pairs below its own. A warp counts for four
//           positions at once, each lane a 32nd of the ids:  T² comparisons, 17 million of a warp at T = 8192
//
//             ids    7 2 7 7 2        order  | 1 4 | 0 2 3 |
//                                     sums     id 2   id 7
//
//   sums    a block that stands at the first position of a run adds up the run's rows, one thread a column; the others
//           have nothing to do. Eight rows are fetched ahead, so that a frequent id costs bandwidth and not latency
//
// size(T) bytes read an element of dy, 8 read and written an element of dtable that occurs; one FLOP an element.
#include "kernels/cuda/launchers.h"
#include "kernels/cuda/rows.h"
#include "kernels/gpu/scratch.h"

namespace ov::kernels::OV_CUDA {
namespace {

constexpr int at_once = 4, warps = 4;  // positions of a warp, warps of a block

__global__ void sort_positions(std::int64_t* order, const std::int64_t* ids, std::int64_t T) {
  const int lane = threadIdx.x;
  const std::int64_t first = (std::int64_t(blockIdx.x) * warps + threadIdx.y) * at_once;
  std::int64_t id[at_once];
  int below[at_once] = {};
  for (int k = 0; k < at_once; ++k) id[k] = first + k < T ? ids[first + k] : 0;
  for (std::int64_t u = lane; u < T; u += 32) {
    const std::int64_t other = ids[u];
    for (int k = 0; k < at_once; ++k) below[k] += other < id[k] || (other == id[k] && u < first + k);
  }
  for (int k = 0; k < at_once; ++k) {
    for (int step = 16; step; step /= 2) below[k] += __shfl_xor_sync(0xffffffffu, below[k], step);
    if (lane == 0 && first + k < T) order[below[k]] = first + k;
  }
}

template <class T>
__global__ void add_runs(DeviceRows<float> dtable, DeviceRows<T> dy, const std::int64_t* ids, const std::int64_t* order,
                         std::int64_t positions, std::int64_t V, std::int64_t C) {
  const std::int64_t begin = blockIdx.x, c = std::int64_t(blockIdx.y) * blockDim.x + threadIdx.x;
  const std::int64_t id = ids[order[begin]];
  if (c >= C || id < 0 || id >= V || (begin > 0 && ids[order[begin - 1]] == id)) return;
  constexpr int ahead = 8;
  float sum = dtable[id][c];
  for (std::int64_t i = begin; i < positions; i += ahead) {
    float terms[ahead];
    bool mine[ahead];
    for (int k = 0; k < ahead; ++k) {
      const std::int64_t t = i + k < positions ? order[i + k] : -1;
      mine[k] = t >= 0 && ids[t] == id;
      terms[k] = mine[k] ? float(dy[t][c]) : 0.f;
    }
    for (int k = 0; k < ahead; ++k)
      if (mine[k]) sum += terms[k];
    if (!mine[ahead - 1]) break;
  }
  dtable[id][c] = sum;
}

}  // namespace

void embedding_backward(const EmbeddingBackward& a, gpu::Stream stream) {
  const auto [L, C] = a.dy.dims<2>();
  if (L == 0 || C == 0) return;
  const std::int64_t* ids = a.ids.device_data<std::int64_t>();
  const Tensor order = scratch_of(a);
  launch(sort_positions, dim3(ceil_div(L, warps * at_once)), dim3(32, warps), 0, stream,
         order.device_data<std::int64_t>(), ids, L);
  by_cuda_dtype(a.dy.dtype(), [&, L = L, C = C](auto t) {
    using T = decltype(t);
    const unsigned threads = std::min(256u, ceil_div(C, 32) * 32);
    launch(add_runs<T>, dim3(static_cast<unsigned>(L), ceil_div(C, threads)), dim3(threads), 0, stream,
           rows_of<float>(a.dtable), rows_of<T>(a.dy), ids, order.device_data<std::int64_t>(), L, a.dtable.dim(0), C);
  });
}

}  // namespace ov::kernels::OV_CUDA
