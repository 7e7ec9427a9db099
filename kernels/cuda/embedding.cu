// The gradient of the embedding (kernels/rows.h), without atomics: dtable[id] += Σ of dy_t over the t with ids_t = id,
// in order of t. That is the CPU's order, hence its bits.
//
//   order   the positions t sorted by (ids_t, t): t stands at the number of pairs below its own. A warp counts for four
//           positions at once, each lane a 32nd of the ids:  T² comparisons, 2 million of a warp at T = 8192
//
//             ids    7 2 7 7 2        order  | 1 4 | 0 2 3 |
//                                     sums     id 2   id 7
//
//           It is read from the cache, a number a lane: 8 T bytes
//
//   sums    a block that stands at the first position of a run adds up the run's rows, one thread a packet of columns,
//           16 bytes of dy; the others have nothing to do. Four rows are fetched ahead (eight of single numbers), so
//           that a frequent id costs bandwidth and not latency
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
                         std::int64_t positions, std::int64_t V, Columns<packet_width<T>> columns) {
  const std::int64_t begin = blockIdx.x, id = ids[order[begin]];
  if (id < 0 || id >= V || (begin > 0 && ids[order[begin - 1]] == id)) return;
  columns.by_width([&](auto width) {
    const int p = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
    if (p >= columns.count / width) return;
    constexpr int ahead = width == 1 ? 8 : 4;
    auto sum = load<width>(dtable[id], p);
    for (std::int64_t i = begin; i < positions; i += ahead) {
      Packet<T, width> terms[ahead];
      bool mine[ahead];
      for (int k = 0; k < ahead; ++k) {
        const std::int64_t t = i + k < positions ? order[i + k] : -1;
        mine[k] = t >= 0 && ids[t] == id;
        terms[k] = mine[k] ? load<width>(dy[t], p) : Packet<T, width>{};
      }
      for (int k = 0; k < ahead; ++k)
        if (mine[k]) sum = each([](float s, float t) { return s + t; }, sum, terms[k]);
      if (!mine[ahead - 1]) break;
    }
    store<width>(dtable[id], p, sum);
  });
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
    constexpr int most = packet_width<T>;
    const auto dtable = rows_of<float>(a.dtable);
    const auto dy = rows_of<T>(a.dy);
    const auto columns = columns_of<most>(C, dtable, dy);
    const std::int64_t packets = columns.wide ? C / most : C;
    const unsigned threads = std::min(256u, ceil_div(packets, 32) * 32);
    launch(add_runs<T>, dim3(static_cast<unsigned>(L), ceil_div(packets, threads)), dim3(threads), 0, stream, dtable,
           dy, ids, order.device_data<std::int64_t>(), L, a.dtable.dim(0), columns);
  });
}

}  // namespace ov::kernels::OV_CUDA
