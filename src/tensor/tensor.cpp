#include "tensor/tensor.h"

namespace ov {
Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  if (rank_ > max_rank) input_error("shape of rank ", rank_, "; at most ", max_rank, " axes");
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i)
    if (__builtin_mul_overflow(n, (*this)[i], &n)) input_error("shape ", str(), " has more than 2^63 - 1 elements");
  return n;
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + "]";
}

Tensor::Tensor(const Shape& shape, Dtype dtype, Device& device, Segment segment)
    : shape_(shape), dtype_(dtype), storage_(std::make_shared<Storage>(device, byte_count(shape, dtype), segment)) {
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
  if (!owner) throw std::logic_error("Tensor::borrowed: memory without an owner, which would be freed as its own");
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

std::size_t Tensor::byte_count(const Shape& shape, Dtype dtype) {
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(shape.numel(), static_cast<std::int64_t>(size_of(dtype)), &bytes) || bytes < 0)
    input_error(name_of(dtype), " tensor ", shape.str(), ": its bytes cannot be counted");
  return static_cast<std::size_t>(bytes);
}

void Tensor::not_on_host() const {
  throw std::logic_error(cat(name_of(dtype_), " tensor ", shape_.str(), " lies on ", device().name,
                             ": the host reads it through to_vector or to(cpu())"));
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

Tensor Tensor::over(std::shared_ptr<Storage> storage) const {
  Tensor t = *this;
  t.storage_ = std::move(storage);
  return t;
}

Tensor Tensor::contiguous_copy(Segment segment) const {
  Tensor t(shape_, dtype_, device(), segment);
  t.copy_from(*this);
  return t;
}

}  // namespace ov
