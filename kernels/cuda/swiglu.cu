#include "kernels/swiglu.h"

#include "kernels/cuda/launchers.h"
#include "kernels/cuda/rows.h"

namespace ov::kernels::cuda {
namespace {

constexpr unsigned max_threads = 256;

// A thread takes one packet of a row at a time; blockIdx.x walks the packets of a row, blockIdx.y the rows.
template <class T, int width>
__global__ void forward(DeviceRows<T> y_rows, DeviceRows<T> gate_rows, DeviceRows<T> up_rows, std::int64_t N,
                        std::int64_t packets) {
  using P = Packet<T, width>;
  const std::int64_t p = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= packets) return;
  for (std::int64_t n = blockIdx.y; n < N; n += gridDim.y) {
    const P gate = reinterpret_cast<const P*>(gate_rows[n])[p], up = reinterpret_cast<const P*>(up_rows[n])[p];
    P y;
    for (int i = 0; i < width; ++i) y.at[i] = T(math::silu(float(gate.at[i])) * float(up.at[i]));
    reinterpret_cast<P*>(y_rows[n])[p] = y;
  }
}

template <class T, int width>
__global__ void backward(DeviceRows<T> dgate_rows, DeviceRows<T> dup_rows, DeviceRows<T> dy_rows,
                         DeviceRows<T> gate_rows, DeviceRows<T> up_rows, std::int64_t N, std::int64_t packets) {
  using P = Packet<T, width>;
  const std::int64_t p = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (p >= packets) return;
  for (std::int64_t n = blockIdx.y; n < N; n += gridDim.y) {
    const P dy = reinterpret_cast<const P*>(dy_rows[n])[p], gate = reinterpret_cast<const P*>(gate_rows[n])[p];
    if (dgate_rows.data) {
      const P up = reinterpret_cast<const P*>(up_rows[n])[p];
      P dgate;
      for (int i = 0; i < width; ++i)
        dgate.at[i] = T(float(dy.at[i]) * float(up.at[i]) * math::silu_derivative(float(gate.at[i])));
      reinterpret_cast<P*>(dgate_rows[n])[p] = dgate;
    }
    if (dup_rows.data) {
      P dup;
      for (int i = 0; i < width; ++i) dup.at[i] = T(float(dy.at[i]) * math::silu(float(gate.at[i])));
      reinterpret_cast<P*>(dup_rows[n])[p] = dup;
    }
  }
}

// How to cover N rows of F elements: by 16-byte packets when every array allows it, else by elements.
struct Cover {
  bool wide;
  std::int64_t packets;  // of a row
  dim3 grid, block;
};

template <class T, class... R>
Cover cover(std::int64_t N, std::int64_t F, const R&... arrays) {
  const bool wide = (in_packets(arrays, F) && ...);
  const std::int64_t packets = wide ? F / packet_width<T> : F;
  const unsigned threads = std::min(max_threads, ceil_div(packets, 32) * 32);
  const auto rows = static_cast<unsigned>(std::min<std::int64_t>(N, 65535));  // what gridDim.y can be
  return {wide, packets, dim3(ceil_div(packets, threads), rows), dim3(threads)};
}

}  // namespace

void swiglu_forward(const SwigluForward& a, cudaStream_t stream) {
  const auto [N, F] = a.gate.dims<2>();
  if (N == 0 || F == 0) return;
  by_cuda_dtype(a.gate.dtype(), [&, N = N, F = F](auto t) {
    using T = decltype(t);
    const auto y = rows_of<T>(a.y), gate = rows_of<T>(a.gate), up = rows_of<T>(a.up);
    const Cover c = cover<T>(N, F, y, gate, up);
    launch(c.wide ? forward<T, packet_width<T>> : forward<T, 1>, c.grid, c.block, 0, stream, y, gate, up, N, c.packets);
  });
}

void swiglu_backward(const SwigluBackward& a, cudaStream_t stream) {
  const auto [N, F] = a.gate.dims<2>();
  if (N == 0 || F == 0) return;
  by_cuda_dtype(a.gate.dtype(), [&, N = N, F = F](auto t) {
    using T = decltype(t);
    const auto dgate = rows_of<T>(a.dgate), dup = rows_of<T>(a.dup);
    const auto dy = rows_of<T>(a.dy), gate = rows_of<T>(a.gate), up = rows_of<T>(a.up);
    const Cover c = cover<T>(N, F, dgate, dup, dy, gate, up);
    launch(c.wide ? backward<T, packet_width<T>> : backward<T, 1>, c.grid, c.block, 0, stream, dgate, dup, dy, gate, up,
           N, c.packets);
  });
}

}  // namespace ov::kernels::cuda
