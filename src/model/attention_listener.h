// For those who ask what a layer attends to: a KvStore that is one of these too is told, layer by layer.
#pragma once
#include "tensor/tensor.h"

namespace ov {

class AttentionListener {
 public:
  virtual ~AttentionListener() = default;
  // q [T,H,D] of the fresh tokens after norm and rotation, k [S,K,D] the keys that append_keys gave; scores are
  // scale q·k.
  virtual void attends(std::int64_t layer, const Tensor& q_THD, const Tensor& k_SKD, double scale) = 0;
};

}  // namespace ov
