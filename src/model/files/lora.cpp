#include "model/files/lora.h"

#include <cmath>

#include "base/json.h"
#include "kernels/gemm.h"
#include "store/hf_names.h"

namespace ov {
namespace {

bool unset(const Json& value) {
  if (value.is_null() || (value.is_boolean() && !value.as_bool())) return true;
  if (value.is_string()) return value.as_string() == "none";
  return (value.is_object() && value.members().empty()) || (value.is_array() && value.size() == 0);
}

// What is set for a layer whose name a pattern's key ends (PEFT: a whole name, or its end behind a dot).
double of_layer(const Json& config, const char* pattern, const std::string& layer, double otherwise) {
  const Json* numbers = config.find(pattern);
  if (!numbers || !numbers->is_object()) return otherwise;
  for (const auto& [key, value] : numbers->members())
    if (layer == key || layer.ends_with("." + key)) return value.as_double();
  return otherwise;
}

}  // namespace

LoraAdapter LoraAdapter::read(const std::string& directory) {
  const std::string where = directory + "/adapter_config.json";
  const Json config = Json::read(where);
  if (const Json* type = config.find("peft_type"); !type || !type->is_string() || type->as_string() != "LORA")
    input_error(where, ": peft_type: expected \"LORA\", got ", type ? type->dump() : "nothing");
  for (const char* key : {"use_dora", "bias", "lora_bias", "fan_in_fan_out", "megatron_config", "layer_replication",
                          "trainable_token_indices", "alora_invocation_tokens"})
    if (const Json* value = config.find(key); value && !unset(*value))
      input_error(where, ": ", key, " is ", value->dump(), "; nothing like it is built");
  double rank = 0, alpha = 0;
  bool rooted = false;
  try {
    rank = config.at("r").as_double(), alpha = config.at("lora_alpha").as_double();
    if (const Json* root = config.find("use_rslora")) rooted = root->as_bool();
  } catch (const Error& e) { input_error(where, ": ", e.what()); }

  LoraAdapter adapter;
  adapter.path_ = directory + "/adapter_model.safetensors";
  const Safetensors file = Safetensors::open(adapter.path_);
  for (const SafetensorsEntry& e : file.entries()) {
    const std::string prefix = "base_model.model.";
    std::string name = e.name.starts_with(prefix) ? e.name.substr(prefix.size()) : e.name;
    const auto part = [&](const char* end) {
      if (!name.ends_with(end)) return false;
      name.resize(name.size() - std::string(end).size());
      return true;
    };
    const bool is_a = part(".lora_A.weight"), is_b = !is_a && part(".lora_B.weight");
    if (!is_a && !is_b && name.find("lora_") != std::string::npos)
      input_error(adapter.path_, ": tensor '", e.name, "': expected a lora_A.weight or a lora_B.weight");
    const Tensor tensor = file.tensor(e.name);
    if (!is_a && !is_b) {
      adapter.layers_[name_in_memory(name)].whole = tensor;
      continue;
    }
    if (tensor.rank() != 2)
      input_error(adapter.path_, ": tensor '", e.name, "': expected a matrix, found ", tensor.shape().str());
    Layer& layer = adapter.layers_[name_in_memory(name + ".weight")];
    (is_a ? layer.a : layer.b) = tensor.to(Dtype::f32);
    const double r = of_layer(config, "rank_pattern", name, rank);
    if (tensor.dim(is_a ? 0 : 1) != static_cast<std::int64_t>(r))
      input_error(adapter.path_, ": tensor '", e.name, "': rank ", tensor.dim(is_a ? 0 : 1), ", ", where, " says ", r);
    layer.scale = of_layer(config, "alpha_pattern", name, alpha) / (rooted ? std::sqrt(r) : r);
  }
  if (adapter.layers_.empty()) input_error(adapter.path_, ": holds no tensor");
  for (const auto& [name, layer] : adapter.layers_)
    if (!layer.whole && (!layer.a || !layer.b))
      input_error(adapter.path_, ": ", name_on_disk(name), " has only one of lora_A and lora_B");
  return adapter;
}

void LoraAdapter::check(const CheckpointReader& weights) const {
  for (const auto& [name, layer] : layers_) {
    const Shape expected = weights.tensor(name).shape();  // missing: a near name is offered
    const Shape shape = layer.whole ? layer.whole.shape() : Shape{layer.b.dim(0), layer.a.dim(1)};
    if (shape != expected)
      input_error(path_, ": ", name_on_disk(name), ": the adapter is for ", shape.str(), ", the model has ",
                  expected.str());
  }
}

Tensor LoraAdapter::merged(const std::string& name, const Tensor& base) const {
  const auto at = layers_.find(name);
  if (at == layers_.end()) return base;
  const Layer& layer = at->second;
  if (layer.whole) return layer.whole.to(base.dtype());
  const Tensor sum = base.to(Dtype::f32), b = layer.b.contiguous_copy();
  for (std::int64_t i = 0; i < b.numel(); ++i) b.data<float>()[i] *= static_cast<float>(layer.scale);
  kernels::gemm({.c = sum, .a = b, .b = layer.a, .accumulate = true});
  return base.dtype() == Dtype::f32 ? sum : sum.to(base.dtype());
}

}  // namespace ov
