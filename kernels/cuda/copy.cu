// Copies and fills (kernels/copy.h) of any rows, in every pair of element types: conversions as on the CPU, hence its
// bits. Elements of one type are moved as they are, whatever they mean.
//
//   y_nc = x_nc, in y's type;   y_nc = value
//
//   x | packet 0 | packet 1 | ...     one thread a packet of 16 bytes (kernels/cuda/elementwise.h)
//
// size(x) + size(y) bytes an element, a fill size(y); no FLOPs.
#include "kernels/copy.h"

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launchers.h"

namespace ov::kernels::OV_CUDA {
namespace {

template <class To, class From>
struct Convert {
  DeviceRows<To> y;
  DeviceRows<From> x;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    const auto v = load<width>(x[n], p);
    Packet<To, width> to;
    UNROLL
    for (int i = 0; i < width; ++i) to.at[i] = static_cast<To>(v.at[i]);
    store<width>(y[n], p, to);
  }
};

template <class T>
struct Constant {
  DeviceRows<T> y;
  T value;
  template <int width>
  __device__ void at(std::int64_t n, std::int64_t p) const {
    Packet<T, width> to;
    UNROLL
    for (T& e : to.at) e = value;
    store<width>(y[n], p, to);
  }
};

// f(T{}) with the type itself, or with an unsigned integer of its size where only bits matter.
template <class F>
void by_type(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f64: return f(double{});
    case Dtype::f32: return f(float{});
    case Dtype::bf16: return f(Bf16{});
    case Dtype::i64: return f(std::int64_t{});
    case Dtype::i32: return f(std::int32_t{});
    case Dtype::u8: return f(std::uint8_t{});
  }
}
template <class F>
void by_size(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 8: return f(std::uint64_t{});
    case 4: return f(std::uint32_t{});
    case 2: return f(std::uint16_t{});
    default: return f(std::uint8_t{});
  }
}

// Pairs that a training step converts go by packets; the others element by element, which compiles in half the time.
template <class To, class From>
constexpr int convert_width = sizeof(To) + sizeof(From) == 6 || std::is_same_v<To, From> ? int(16 / sizeof(To)) : 1;

template <class To, class From>
void run(const Copy& a, gpu::Stream stream) {
  auto [N, C] = a.y.dims<2>();
  auto y = rows_of<To>(a.y);
  auto x = rows_of<From>(a.x);
  join_rows(N, C, y, x);
  for_each_packet<convert_width<To, From>>(Convert<To, From>{y, x}, N, C, stream, y, x);
}

}  // namespace

void copy(const Copy& a, gpu::Stream stream) {
  if (a.x.dtype() == a.y.dtype())
    return by_size(size_of(a.y.dtype()), [&](auto bits) { run<decltype(bits), decltype(bits)>(a, stream); });
  by_type(a.y.dtype(), [&](auto to) {
    by_type(a.x.dtype(), [&](auto from) {
      using To = decltype(to);
      using From = decltype(from);
      if constexpr (!std::is_same_v<To, From>) run<To, From>(a, stream);
    });
  });
}

void fill(const Fill& a, gpu::Stream stream) {
  by_type(a.y.dtype(), [&](auto v) {
    using T = decltype(v);
    auto [N, C] = a.y.dims<2>();
    auto y = rows_of<T>(a.y);
    join_rows(N, C, y);
    for_each_packet<int(16 / sizeof(T))>(Constant<T>{y, static_cast<T>(a.value)}, N, C, stream, y);
  });
}

}  // namespace ov::kernels::OV_CUDA
