// Numbers that are one's own or lie in a mapped file, whose pages come when they are read and go when memory is short.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

template <class T>
class Column {
 public:
  Column() = default;
  Column(std::vector<T> values) {
    const auto own = std::make_shared<const std::vector<T>>(std::move(values));
    values_ = *own;
    tensor_ = Tensor::borrowed(own->data(), {static_cast<std::int64_t>(size())}, dtype_of<T>(), own);
  }
  Column(std::initializer_list<T> values) : Column(std::vector<T>(values)) {}
  explicit Column(const Tensor& t) : tensor_(t), values_(t.data<T>(), static_cast<std::size_t>(t.numel())) {}

  std::size_t size() const { return values_.size(); }
  const T* data() const { return values_.data(); }
  const T& operator[](std::size_t i) const { return values_[i]; }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }
  const T& back() const { return values_.back(); }
  const Tensor& tensor() const { return tensor_; }
  operator std::span<const T>() const { return values_; }
  bool operator==(const Column& o) const { return std::equal(begin(), end(), o.begin(), o.end()); }

 private:
  Tensor tensor_;  // [size], whose memory the span is
  std::span<const T> values_;
};

}  // namespace ov
