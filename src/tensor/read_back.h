// What a step reads of what it computed, on the host.
#pragma once
#include "tensor/tensor.h"

namespace ov {

// t on the host; of meta, which has no data, zeros: `plan` goes on with those.
inline Tensor read_back(const Tensor& t) {
  return t.has_data() ? t.to(cpu()) : Tensor::zeros(t.shape(), t.dtype(), cpu(), Segment::workspace);
}

}  // namespace ov
