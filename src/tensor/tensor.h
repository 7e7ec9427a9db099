// An array in a device's memory: shared storage, row-major, the last axis contiguous, one stride for every other axis.
// q [T,H,D] inside a fused q|k|v product, a slice of a cache, one parameter inside a flat buffer are views, not copies.
//
// A default-constructed Tensor is null: a gradient nobody wants, an optional argument left out.
#pragma once
#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace ov {

class Shape {
 public:
  static constexpr int max_rank = 5;
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis < 0 ? rank_ + axis : axis)]; }
  std::int64_t& operator[](int axis) { return dims_[static_cast<std::size_t>(axis < 0 ? rank_ + axis : axis)]; }
  std::int64_t numel() const;  // input_error when the product does not fit
  std::string str() const;     // "[4, 8]"
  bool operator==(const Shape&) const = default;

 private:
  int rank_ = 0;
  std::array<std::int64_t, max_rank> dims_{};
};

// Bytes of one allocation, returned to the device by the last Tensor that uses them. `owner` keeps mapped files alive.
struct Storage {
  Storage(Device& device, std::size_t bytes, Segment segment)
      : device(&device), bytes(bytes), segment(segment), data(device.allocate(bytes, segment)) {}
  Storage(Device& device, void* data, std::size_t bytes, std::shared_ptr<const void> owner)
      : device(&device), bytes(bytes), segment(Segment::data), data(data), owner(std::move(owner)) {}
  ~Storage() {
    if (!owner) device->release(data, bytes, segment);
  }
  Storage(const Storage&) = delete;

  Device* device;
  std::size_t bytes;
  Segment segment;
  void* data;
  std::shared_ptr<const void> owner;
};

class Tensor {
 public:
  Tensor() = default;
  // Contents are unspecified until written.
  Tensor(const Shape& shape, Dtype dtype, Device& device, Segment segment = Segment::activations);
  static Tensor like(const Tensor& t, Segment segment = Segment::activations) {
    return Tensor(t.shape_, t.dtype_, t.device(), segment);
  }
  static Tensor zeros(const Shape& shape, Dtype dtype, Device& device, Segment segment = Segment::activations);
  template <class T>
  static Tensor of(const std::vector<T>& values, const Shape& shape, Device& device = cpu(),
                   Segment segment = Segment::data);
  // Read-only memory that belongs to `owner` (a mapped file).
  static Tensor borrowed(const void* data, const Shape& shape, Dtype dtype, std::shared_ptr<const void> owner);

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t stride(int axis) const { return stride_[static_cast<std::size_t>(axis < 0 ? rank() + axis : axis)]; }
  std::int64_t numel() const { return shape_.numel(); }
  Dtype dtype() const { return dtype_; }
  Device& device() const { return *storage_->device; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  bool contiguous() const;
  bool has_data() const { return storage_ && device().has_data(); }
  std::size_t nbytes() const { return byte_count(shape_, dtype_); }

  // The last R-1 axes as they are, all axes before them multiplied together: dims<2> of [T,H,D] is {T*H, D}.
  template <int R>
  std::array<std::int64_t, R> dims() const;

  // The first element, for the host: std::logic_error where the memory is not the host's. T must have the size of the
  // dtype: an offset counted in other elements would point elsewhere.
  template <class T>
  T* data() const {
    check_host();
    return device_data<T>();
  }
  std::byte* bytes() const {
    check_host();
    return device_bytes();
  }
  // Row n of the array seen as dims<2>.
  template <class T>
  T* row(std::int64_t n) const {
    return data<T>() + row_offset(n);
  }
  // The same wherever the memory lies: for kernels and tensor/ alone (`make arch-check`).
  template <class T>
  T* device_data() const {
    if (sizeof(T) != size_of(dtype_)) wrong_size(sizeof(T));
    return reinterpret_cast<T*>(static_cast<std::byte*>(storage_->data)) + offset_;
  }
  template <class T>
  T* device_row(std::int64_t n) const {
    return device_data<T>() + row_offset(n);
  }
  std::byte* device_bytes() const {
    return static_cast<std::byte*>(storage_->data) + offset_ * static_cast<std::int64_t>(size_of(dtype_));
  }
  std::int64_t row_offset(std::int64_t n) const {
    const int r = rank();
    if (r <= 1) return 0;
    if (r == 2) return n * stride_[0];
    std::int64_t offset = 0;
    for (int axis = r - 2; axis > 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      offset += n % shape_[axis] * stride_[a];
      n /= shape_[axis];
    }
    return offset + n * stride_[0];
  }
  // Elements from one row of dims<2> to the next when that is one number for all rows, else -1.
  std::int64_t row_stride() const;

  // Views. All throw input_error when the shape does not allow it.
  Tensor view(const Shape& shape) const;                               // same elements; contiguous only,
                                                                       // or splitting the last axis
  Tensor slice(int axis, std::int64_t begin, std::int64_t end) const;  // [begin, end) of one axis
  Tensor flat() const { return view({numel()}); }
  Tensor over(std::shared_ptr<Storage> storage) const;  // the same view of other bytes

  Tensor contiguous_copy(Segment segment = Segment::activations) const;  // always fresh
  Tensor to(Dtype dtype, Segment segment = Segment::activations) const;  // always fresh
  // On another device, contiguous; itself where it already is. To meta: the shape alone.
  Tensor to(Device& device, Segment segment = Segment::data) const;
  template <class T>
  std::vector<T> to_vector() const;  // from any device; dtype must match

  void zero() const { fill(0); }
  void fill(double value) const;
  void copy_from(const Tensor& t) const;  // same shape and dtype, from any device; between meta tensors nothing

 private:
  static std::size_t byte_count(const Shape& shape, Dtype dtype);  // input_error when the product does not fit
  static Tensor uploaded(const void* values, const Shape& shape, Dtype dtype, Device& device, Segment segment);
  void check_host() const {
    if (!device().on_host()) not_on_host();
  }
  [[noreturn]] void wrong_size(std::size_t bytes) const;
  [[noreturn]] void not_on_host() const;
  Shape shape_;
  std::array<std::int64_t, Shape::max_rank> stride_{};
  std::int64_t offset_ = 0;  // elements
  Dtype dtype_ = Dtype::f32;
  std::shared_ptr<Storage> storage_;
};

template <int R>
std::array<std::int64_t, R> Tensor::dims() const {
  std::array<std::int64_t, R> d;
  d.fill(1);
  for (int axis = 0; axis < rank(); ++axis) {
    const int to = std::max(0, R - (rank() - axis));
    d[static_cast<std::size_t>(to)] *= shape_[axis];
  }
  return d;
}

template <class T>
Tensor Tensor::of(const std::vector<T>& values, const Shape& shape, Device& device, Segment segment) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel())
    input_error("Tensor::of: ", values.size(), " values for shape ", shape.str());
  return uploaded(values.data(), shape, dtype_of<T>(), device, segment);
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  if (dtype_ != dtype_of<T>()) input_error("to_vector: tensor is ", name_of(dtype_));
  const Tensor here = device().on_host() ? *this : to(cpu());
  std::vector<T> v(static_cast<std::size_t>(numel()));
  const auto [n, c] = dims<2>();
  for (std::int64_t i = 0; i < n; ++i) std::copy_n(here.row<T>(i), c, v.data() + i * c);
  return v;
}

// Calls f(T{}) with the C++ type of a floating dtype: by_dtype(x.dtype(), [&](auto t) { forward<decltype(t)>(a); }).
template <class F>
void by_dtype(Dtype dtype, F&& f) {
  if (dtype == Dtype::f32) return f(float{});
  if (dtype == Dtype::f64) return f(double{});
  if (dtype == Dtype::bf16) return f(Bf16{});
  input_error("expected a floating type, got ", name_of(dtype));
}

}  // namespace ov
