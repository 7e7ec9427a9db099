// Kernels without sums between elements: a thread does one packet of neighbours, the same in every array.
//
//   columns  0 ...        width       2 width                    C
//   row n    | packet 0 -> | packet 1 -> | ...                    |   threadIdx.x and blockIdx.x walk the packets,
//   row n+1  |                                                    |   threadIdx.y and blockIdx.y the rows
//
// A block has 256 threads: one row's packets, or several short rows. Rows beyond the grid are taken in turns.
#pragma once
#include "kernels/cuda/rows.h"

namespace ov::kernels::OV_CUDA {

// F is a struct with `template <int width> __device__ void at(n, p) const`: what is to be done to packet p of row n.
template <int width, class F>
__global__ void each_packet(F f, std::int64_t N, std::int64_t packets) {
  const std::int64_t p = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= packets) return;
  const std::int64_t step = std::int64_t(gridDim.y) * blockDim.y;
  ROLLED
  for (std::int64_t n = std::int64_t(blockIdx.y) * blockDim.y + threadIdx.y; n < N; n += step)
    f.template at<width>(n, p);
}

// Over N rows of C elements: by packets of `width` when every one of the arrays allows it, else by elements.
template <int width, class F, class... T>
void for_each_packet(const F& f, std::int64_t N, std::int64_t C, gpu::Stream stream, const DeviceRows<T>&... arrays) {
  if (N == 0 || C == 0) return;
  constexpr std::int64_t threads = 256, most_y = 65535;  // what gridDim.y can be
  const bool wide = (in_packets<width>(arrays, C) && ...);
  const std::int64_t packets = wide ? C / width : C;
  std::int64_t x = 1;
  while (x < packets && x < threads) x *= 2;
  const std::int64_t y = std::min(N, threads / x);
  const dim3 grid(ceil_div(packets, x), std::min<std::int64_t>(ceil_div(N, y), most_y));
  const dim3 block(static_cast<unsigned>(x), static_cast<unsigned>(y));
  launch(wide ? each_packet<width, F> : each_packet<1, F>, grid, block, 0, stream, f, N, packets);
}

// Where all arrays lie without gaps they are one long row, so that odd row lengths go by packets too.
template <class... T>
void join_rows(std::int64_t& N, std::int64_t& C, DeviceRows<T>&... arrays) {
  if (!((arrays.inner == 1 && (!arrays.data || N == 1 || arrays.outer_stride == C)) && ...)) return;
  C *= N, N = 1;
  ((arrays.outer_stride = 0), ...);
}

}  // namespace ov::kernels::OV_CUDA
