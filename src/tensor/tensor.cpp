#include "tensor/tensor.h"

#include <cstring>

#include "base/parallel.h"

namespace ov {
namespace {

template <class From, class To>
void convert(const Tensor& from, const Tensor& to) {
  const auto [n, c] = from.dims<2>();
  for (std::int64_t i = 0; i < n; ++i) {
    const From* a = from.row<From>(i);
    To* b = to.row<To>(i);
    for (std::int64_t k = 0; k < c; ++k) {
      if constexpr (std::is_same_v<From, To>) b[k] = a[k];
      else if constexpr (std::is_same_v<From, Bf16>) b[k] = static_cast<To>(to_f32(a[k]));
      else if constexpr (std::is_same_v<To, Bf16>) b[k] = to_bf16(static_cast<float>(a[k]));
      else b[k] = static_cast<To>(a[k]);
    }
  }
}

template <class F>
void any_dtype(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f64: return f(double{});
    case Dtype::f32: return f(float{});
    case Dtype::bf16: return f(Bf16{});
    case Dtype::i64: return f(std::int64_t{});
    case Dtype::i32: return f(std::int32_t{});
    case Dtype::u8: return f(std::uint8_t{});
  }
}

}  // namespace

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  if (rank_ > max_rank) input_error("shape of rank ", rank_, "; at most ", max_rank, " axes");
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + "]";
}

Tensor::Tensor(const Shape& shape, Dtype dtype, Device& device, Segment segment)
    : shape_(shape),
      dtype_(dtype),
      storage_(std::make_shared<Storage>(device, static_cast<std::size_t>(shape.numel()) * size_of(dtype), segment)) {
  std::int64_t stride = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    stride_[static_cast<std::size_t>(axis)] = stride;
    stride *= shape_[axis];
  }
}

Tensor Tensor::zeros(const Shape& shape, Dtype dtype, Device& device, Segment segment) {
  Tensor t(shape, dtype, device, segment);
  t.zero();
  return t;
}

Tensor Tensor::borrowed(const void* data, const Shape& shape, Dtype dtype, std::shared_ptr<const void> owner) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  std::int64_t stride = 1;
  for (int axis = t.rank() - 1; axis >= 0; --axis) {
    t.stride_[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  t.storage_ = std::make_shared<Storage>(cpu(), const_cast<void*>(data), t.nbytes(), std::move(owner));
  return t;
}

void Tensor::wrong_size(std::size_t bytes) const {
  throw std::logic_error(cat(name_of(dtype_), " tensor ", shape_.str(), " read as elements of ", bytes, " bytes"));
}

bool Tensor::contiguous() const {
  std::int64_t stride = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (shape_[axis] != 1 && stride_[static_cast<std::size_t>(axis)] != stride) return false;
    stride *= shape_[axis];
  }
  return true;
}

std::int64_t Tensor::row_stride() const {
  if (rank() < 2) return shape_.numel();
  for (int axis = rank() - 2; axis > 0; --axis)
    if (shape_[axis - 1] != 1 && stride_[static_cast<std::size_t>(axis - 1)] != stride(axis) * shape_[axis]) return -1;
  return stride(-2);
}

Tensor Tensor::view(const Shape& shape) const {
  if (shape.numel() != numel()) input_error("view: ", shape_.str(), " as ", shape.str());
  Tensor t = *this;
  t.shape_ = shape;
  if (contiguous()) {
    std::int64_t stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      t.stride_[static_cast<std::size_t>(axis)] = stride;
      stride *= shape[axis];
    }
    return t;
  }
  // Not contiguous: leading axes must stay, the last one may be split.
  const int keep = rank() - 1;
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= keep; --axis) {
    t.stride_[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  bool possible = shape.rank() >= rank() && stride == shape_[keep];
  for (int axis = 0; axis < keep && possible; ++axis) {
    possible = shape[axis] == shape_[axis];
    t.stride_[static_cast<std::size_t>(axis)] = stride_[static_cast<std::size_t>(axis)];
  }
  if (!possible) input_error("view: strided ", shape_.str(), " cannot be seen as ", shape.str());
  return t;
}

Tensor Tensor::slice(int axis, std::int64_t begin, std::int64_t end) const {
  if (axis < 0) axis += rank();
  if (axis < 0 || axis >= rank() || begin < 0 || end < begin || end > shape_[axis])
    input_error("slice: [", begin, ", ", end, ") of axis ", axis, " of ", shape_.str());
  Tensor t = *this;
  t.shape_[axis] = end - begin;
  t.offset_ += begin * stride_[static_cast<std::size_t>(axis)];
  return t;
}

Tensor Tensor::contiguous_copy(Segment segment) const {
  Tensor t(shape_, dtype_, device(), segment);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Dtype dtype, Segment segment) const {
  Tensor t(shape_, dtype, device(), segment);
  if (!has_data()) return t;
  any_dtype(dtype_,
            [&](auto from) { any_dtype(dtype, [&](auto to) { convert<decltype(from), decltype(to)>(*this, t); }); });
  return t;
}

void Tensor::zero() const {
  if (!contiguous()) input_error("zero: ", shape_.str(), " is a strided view");
  if (!has_data() || numel() == 0) return;
  std::byte* p = bytes();
  parallel_ranges(static_cast<std::int64_t>(nbytes()), 1 << 18, [&](std::int64_t begin, std::int64_t end) {
    std::memset(p + begin, 0, static_cast<std::size_t>(end - begin));
  });
}

void Tensor::copy_from(const Tensor& t) const {
  if (t.shape_ != shape_ || t.dtype_ != dtype_)
    input_error("copy: ", name_of(t.dtype_), " ", t.shape_.str(), " into ", name_of(dtype_), " ", shape_.str());
  if (!has_data()) return;
  any_dtype(dtype_, [&](auto v) { convert<decltype(v), decltype(v)>(t, *this); });
}

}  // namespace ov
