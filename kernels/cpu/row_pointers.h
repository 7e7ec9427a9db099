// Row pointers of a strided tensor.
#pragma once
#include <algorithm>
#include <cstdint>

#include "tensor/tensor.h"

namespace ov::kernels::cpu {

// Where the rows of a tensor seen as dims<2> begin, for loops over many of them: rows[n] is x.device_row<T>(n), with
// the shape looked at once. Of a null tensor there are none. The tensor must outlive it.
template <class T>
class RowPointers {
 public:
  explicit RowPointers(const Tensor& x) {
    if (!x) return;
    data_ = x.device_data<T>();
    outer_ = std::max<std::int64_t>(0, x.row_stride());
    if (x.row_stride() >= 0) return;
    if (x.rank() == 3 && x.dim(0) * x.dim(1) < std::int64_t{1} << 32) {
      group_ = static_cast<std::uint32_t>(x.dim(1));
      outer_ = x.stride(0), inner_ = x.stride(1);
    } else {
      any_ = &x;
    }
  }
  T* operator[](std::int64_t n) const {
    if (group_ == 1) return any_ ? any_->device_row<T>(n) : data_ + n * outer_;
    const auto row = static_cast<std::uint32_t>(n), group = row / group_;  // 32 bits: a division a third as long
    return data_ + group * outer_ + (row - group * group_) * inner_;
  }

 private:
  T* data_ = nullptr;
  std::uint32_t group_ = 1;             // rows that are equally far apart,
  std::int64_t outer_ = 0, inner_ = 0;  // and how far from group to group and in it
  const Tensor* any_ = nullptr;         // more axes than that
};

}  // namespace ov::kernels::cpu
