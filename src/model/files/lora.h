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

#include "nn/lora.h"
#include "store/hf_weights.h"

namespace ov {

class LoraAdapter {
 public:
  static LoraAdapter read(const std::string& directory);

  // Refuses an adapter of another model: every layer must be among the weights, with its shape.
  void check(const CheckpointReader& weights) const;
  // The tensor `name` (in memory) with the adapter added: in f32, rounded once to base's type; in f64 for an f64 model.
  // base itself where the adapter does not touch it.
  Tensor merged(const std::string& name, const Tensor& base, bool f64 = false) const;
  // Into the matrices that are learnt (nn/lora.h), which must be these.
  void copy_to(Parameters& parameters) const;

 private:
  struct Layer {
    Tensor a, b;  // or `whole`
    Tensor whole;
    double scale = 1;
  };
  std::string path_;
  std::map<std::string, Layer> layers_;  // by the weight's name in memory
};

// base + scale b a, in f32 (f64 of an f64 base), rounded once to base's type; on the host.
Tensor with_low_rank(const Tensor& base, const Tensor& a, const Tensor& b, double scale);
// p of a model that is trained with LoRA, with all digits and what is learnt beside it.
Tensor merged_weight(const Parameters& parameters, const Parameter& p);
// What a run learnt, as PEFT reads it, into an existing directory. alone: names are those of a language model's own
// class. dtype: as write_model (model/files/hf_directory.h).
void write_adapter(const std::string& directory, const Parameters& parameters, bool alone, Dtype dtype);

}  // namespace ov
