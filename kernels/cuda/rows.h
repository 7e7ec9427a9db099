// How a kernel sees a tensor: as rows, dims<2> of the contract headers, whatever its strides.
#pragma once
#include <algorithm>

#include "base/math.h"
#include "kernels/cuda/language.h"
#include "tensor/tensor.h"

namespace ov::kernels::cuda {

// Row n starts at data + (n / inner) outer_stride + (n mod inner) inner_stride: q [T,H,D] inside a fused q|k|v has
// inner = H. data is null for a gradient nobody wants.
template <class T>
struct DeviceRows {
  T* data = nullptr;
  std::int64_t inner = 1, outer_stride = 0, inner_stride = 0;

  OV_HD T* operator[](std::int64_t n) const {
    if (inner == 1) return data + n * outer_stride;  // the usual case does without a division
    return data + n / inner * outer_stride + n % inner * inner_stride;
  }
};

template <class T>
DeviceRows<T> rows_of(const Tensor& t) {
  if (!t) return {};
  const std::int64_t stride = t.row_stride();
  if (stride >= 0) return {t.device_data<T>(), 1, stride, 0};
  if (t.rank() != 3) input_error("a CUDA kernel takes strided tensors of rank 3, got ", t.shape().str());
  return {t.device_data<T>(), t.dim(1), t.stride(0), t.stride(1)};
}

// `width` neighbours; packet_width of them are moved by one instruction of 16 bytes.
template <class T, int width>
struct alignas(sizeof(T) * width) Packet {
  T at[width];
};
template <class T>
constexpr int packet_width = 16 / sizeof(T);

// Whether every row can be walked in 16-byte packets from end to end.
template <class T>
bool in_packets(const DeviceRows<T>& r, std::int64_t columns) {
  const auto whole = [](std::int64_t elements) { return elements % packet_width<T> == 0; };
  return reinterpret_cast<std::uintptr_t>(r.data) % 16 == 0 && whole(columns) && whole(r.outer_stride) &&
         whole(r.inner_stride);
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

}  // namespace ov::kernels::cuda
