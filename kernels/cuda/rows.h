// How a kernel sees a tensor: as rows, dims<2> of the contract headers, whatever its strides.
#pragma once
#include <algorithm>
#include <limits>

#include "base/math.h"
#include "kernels/cuda/language.h"
#include "tensor/tensor.h"

namespace ov::kernels::OV_CUDA {

// Row n starts at data + (n / inner) outer_stride + (n mod inner) inner_stride: q [T,H,D] inside a fused q|k|v has
// inner = H. data is null for a gradient nobody wants.
template <class T>
struct DeviceRows {
  T* data = nullptr;
  std::int64_t inner = 1, outer_stride = 0, inner_stride = 0;

  OV_HD T* operator[](std::int64_t n) const {
    if (inner == 1) return data + n * outer_stride;  // the usual case does without a division
    const std::int64_t outer = quotient(n, inner);
    return data + outer * outer_stride + (n - outer * inner) * inner_stride;
  }
  // n / d for n >= 0: rows and heads fit 32 bits (rows_of), whose division takes a tenth of the instructions.
  OV_HD static std::int64_t quotient(std::int64_t n, std::int64_t d) {
    return static_cast<std::uint32_t>(n) / static_cast<std::uint32_t>(d);
  }
};

template <class T>
DeviceRows<T> rows_of(const Tensor& t) {
  if (!t) return {};
  if (t.dim(-1) > 0 && t.numel() / t.dim(-1) > std::numeric_limits<std::int32_t>::max())
    input_error("a CUDA kernel takes less than 2^31 rows, got ", t.shape().str());
  const std::int64_t stride = t.row_stride();
  if (stride >= 0) return {t.device_data<T>(), 1, stride, 0};
  DeviceRows<T> rows{t.device_data<T>(), 1, 0, t.stride(-2)};
  int axis = t.rank() - 2;  // from the last one up, axes that continue each other are one
  for (; axis >= 0 && (t.dim(axis) == 1 || t.stride(axis) == rows.inner * rows.inner_stride); --axis)
    rows.inner *= t.dim(axis);
  if (axis >= 0) rows.outer_stride = t.stride(axis);
  for (std::int64_t outer = 1; axis >= 0; --axis) {
    if (t.dim(axis) != 1 && t.stride(axis) != outer * rows.outer_stride)
      input_error("a CUDA kernel takes rows with two strides, got ", t.shape().str(), " with more");
    outer *= t.dim(axis);
  }
  return rows;
}

// `width` neighbours, moved by instructions of up to 16 bytes; packet_width of them fill one.
template <class T, int width>
struct alignas(sizeof(T) * width < 16 ? sizeof(T) * width : 16) Packet {
  T at[width];
};
template <class T>
constexpr int packet_width = 16 / sizeof(T);

// Packet p of a row. The simulator faults where the address is no multiple of the packet's alignment, as a GPU does.
template <int width, class T>
__device__ Packet<T, width> load(const T* row, std::int64_t p) {
  const auto* from = reinterpret_cast<const Packet<T, width>*>(row) + p;
  check_alignment(from, alignof(Packet<T, width>));
  return *from;
}
template <int width, class T>
__device__ void store(T* row, std::int64_t p, const Packet<T, width>& packet) {
  auto* to = reinterpret_cast<Packet<T, width>*>(row) + p;
  check_alignment(to, alignof(Packet<T, width>));
  *to = packet;
}

// Whether every row can be walked in packets of `width` from end to end.
template <int width, class T>
bool in_packets(const DeviceRows<T>& r, std::int64_t columns) {
  constexpr auto alignment = static_cast<std::int64_t>(alignof(Packet<T, width>) / sizeof(T));  // in elements
  const auto whole = [](std::int64_t elements) { return elements % alignment == 0; };
  return reinterpret_cast<std::uintptr_t>(r.data) % alignof(Packet<T, width>) == 0 && columns % width == 0 &&
         whole(r.outer_stride) && whole(r.inner_stride);
}
template <int width, class T>
bool in_packets(const T* row, std::int64_t columns) {
  return in_packets<width>(DeviceRows<const T>{row}, columns);
}

// A number that the compiler knows from its type. (std::integral_constant's conversion is none of the device's.)
template <int width>
struct Width {
  OV_HD constexpr operator int() const { return width; }
};

// How a kernel walks the columns of its rows: in packets of `most` where all its arrays allow it (`wide`), else one by
// one. Its code for a packet takes the width, 1 or `most`, as a Width, which the compiler knows.
template <int most>
struct Columns {
  int count;
  bool wide;
  // f of the width that goes. All threads of a launch answer alike, so that no warp is cut.
  template <class F>
  OV_HD void by_width(F&& f) const {
    if constexpr (most > 1)
      if (wide) return f(Width<most>());
    f(Width<1>());
  }
};
// At most 2^30 numbers a row, since indices run up to a tile beyond its end.
template <int most, class... Rows>
Columns<most> columns_of(std::int64_t count, const Rows&... arrays) {  // DeviceRows, or pointers to one row
  constexpr int longest = 1 << 30;
  if (count > longest) input_error("a CUDA kernel takes rows of at most 2^30 numbers, got ", count);
  return {static_cast<int>(count), (in_packets<most>(arrays, count) && ...)};
}

// f of each element of packets of one width: a packet of what f returns.
template <class F, int width, class... T>
__device__ auto each(F f, const Packet<T, width>&... packets) {
  Packet<decltype(f(packets.at[0]...)), width> results;
  UNROLL
  for (int i = 0; i < width; ++i) results.at[i] = f(packets.at[i]...);
  return results;
}

// Calls f(T{}) with the element type of a kernel.
template <class F>
void by_cuda_dtype(Dtype dtype, F&& f) {
  if (dtype == Dtype::f32) return f(float{});
  if (dtype == Dtype::bf16) return f(Bf16{});
  input_error("no CUDA kernel for ", name_of(dtype), " here; f32 and bf16 exist");
}

OV_HD inline int smaller(int a, int b) { return a < b ? a : b; }

inline unsigned ceil_div(std::int64_t n, std::int64_t by) { return static_cast<unsigned>((n + by - 1) / by); }

}  // namespace ov::kernels::OV_CUDA
