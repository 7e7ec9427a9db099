// The one place where bytes cross between the host and a device, or between devices. Tensor::of, to(device), copy_from
// and to_vector are made of it.
#pragma once
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// From one device to another: same shape, same dtype. Returns before a device that queues its work has run it, but has
// read or written the host's side. input_error when either is on meta.
void transfer(const Tensor& from, const Tensor& to, Stream stream = Stream::compute);

// Whether both begin at the same element of the same memory.
inline bool same_memory(const Tensor& a, const Tensor& b) {
  return a.storage() == b.storage() && a.device_bytes() == b.device_bytes();
}

// The value of a tensor with one element, f32 or f64. It waits for the device: a step reads its scalars once, late.
double read_scalar(const Tensor& t);

// Ids and row numbers on a device. They are checked here, before they travel: a kernel does not look. input_error names
// the first that lies outside of [lowest, end). On meta only the shape.
Tensor index_tensor(const char* what, const std::vector<std::int64_t>& values, const Shape& shape, std::int64_t lowest,
                    std::int64_t end, Device& device);

}  // namespace ov
