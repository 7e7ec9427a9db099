// A trainable array of the model: a view into the flat buffers that hold all parameters in the order of the name table.
#pragma once
#include <string>

#include "tensor/tensor.h"

namespace ov {

struct Parameter {
  std::string name;  // Hugging Face's in-memory name: "model.visual.blocks.0.norm1.weight"
  Tensor value;      // what the kernels read
  Tensor main_grad;  // what backward adds to (f32, or f64 in f64 models); null outside of training
  bool trainable = true;
};

}  // namespace ov
