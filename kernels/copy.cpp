#include "kernels/copy.h"

#include "kernels/table.h"
#include "tensor/transfer.h"

namespace ov {
namespace kernels {

void copy(const Copy& a) {
  if (a.x.shape() != a.y.shape() || &a.x.device() != &a.y.device())
    input_error("copy: ", a.x.shape().str(), " on ", a.x.device().name, " into ", a.y.shape().str(), " on ",
                a.y.device().name);
  OV_RUN(a.y, copy, a);
}

void fill(const Fill& a) { OV_RUN(a.y, fill, a); }

}  // namespace kernels

Tensor Tensor::to(Dtype dtype, Segment segment) const {
  Tensor t(shape_, dtype, device(), segment);
  if (has_data()) kernels::copy({.y = t, .x = *this});
  return t;
}

void Tensor::fill(double value) const {
  if (has_data()) kernels::fill({.y = *this, .value = value});
}

void Tensor::copy_from(const Tensor& t) const {
  if (t.shape_ != shape_ || t.dtype_ != dtype_)
    input_error("copy: ", name_of(t.dtype_), " ", t.shape_.str(), " into ", name_of(dtype_), " ", shape_.str());
  if (!has_data() && !t.has_data()) return;
  if (&t.device() != &device()) return transfer(t, *this);
  kernels::copy({.y = *this, .x = t});
}

}  // namespace ov
