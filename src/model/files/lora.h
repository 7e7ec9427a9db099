// A LoRA adapter (Hu et al. 2021) as PEFT and NeMo AutoModel save it: adapter_config.json and
// adapter_model.safetensors.
//
//   W' = W + scale B A,   A lora_A.weight [r,in], B lora_B.weight [out,r],  scale = lora_alpha / r, or / sqrt(r) with
//   use_rslora; rank_pattern and alpha_pattern may say other numbers for some layers
//
// Names are base_model.model.<layer>.lora_A.weight with <layer> in any spelling of store/hf_names.h; modules_to_save
// come as whole tensors. Errors: input_error that names the file and the key or tensor. What changes the formula and is
// not built (DoRA, a trained bias, fan_in_fan_out, other kinds of adapters) is refused by name.
#pragma once
#include <map>
#include <string>

#include "store/hf_weights.h"

namespace ov {

class LoraAdapter {
 public:
  static LoraAdapter read(const std::string& directory);

  // Refuses an adapter of another model: every layer must be among the weights, with its shape.
  void check(const CheckpointReader& weights) const;
  // The tensor `name` (in memory) with the adapter added: in f32, rounded once to base's type. base itself where the
  // adapter does not touch it.
  Tensor merged(const std::string& name, const Tensor& base) const;

 private:
  struct Layer {
    Tensor a, b;  // or `whole`
    Tensor whole;
    double scale = 1;
  };
  std::string path_;
  std::map<std::string, Layer> layers_;  // by the weight's name in memory
};

}  // namespace ov
