#include "model/files/lora.h"

#include <cmath>

#include "base/io/file.h"
#include "base/json.h"
#include "kernels/gemm.h"
#include "model/files/hf_directory.h"
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

Tensor LoraAdapter::merged(const std::string& name, const Tensor& base, bool f64) const {
  const auto at = layers_.find(name);
  if (at == layers_.end()) return base;
  const Layer& layer = at->second;
  return layer.whole ? layer.whole.to(base.dtype())
                     : with_low_rank(f64 ? base.to(Dtype::f64) : base, layer.a, layer.b, layer.scale);
}

void LoraAdapter::copy_to(Parameters& parameters) const {
  const std::string what = "; lora.* must describe the adapter that lora.start names";
  for (const Parameters::Adapter& to : parameters.adapters()) {
    const auto from = layers_.find(to.w->name);
    if (from == layers_.end()) input_error(path_, ": holds nothing for ", name_on_disk(to.w->name), what);
    const Layer& layer = from->second;
    if (layer.whole || layer.a.shape() != to.a->value.shape() || layer.b.shape() != to.b->value.shape() ||
        std::abs(layer.scale - parameters.lora().scale()) > 1e-12 * layer.scale)
      input_error(path_, ": ", name_on_disk(to.w->name), ": another rank, alpha or kind than this run's", what);
    copy_weight(path_, to.a->name, layer.a, to.a->value);
    copy_weight(path_, to.b->name, layer.b, to.b->value);
  }
  if (layers_.size() != parameters.adapters().size())
    input_error(path_, ": holds ", layers_.size(), " adapted matrices, this run adapts ", parameters.adapters().size(),
                what);
}

Tensor with_low_rank(const Tensor& base, const Tensor& a, const Tensor& b, double scale) {
  const Dtype dtype = accum_dtype(base.dtype());
  const auto here = [&](const Tensor& t) { return t.to(cpu()).to(dtype).contiguous_copy(); };
  const Tensor sum = here(base), scaled = here(b);
  const auto multiply = [&]<class T>(T* x) {
    for (std::int64_t i = 0; i < scaled.numel(); ++i) x[i] *= static_cast<T>(scale);
  };
  dtype == Dtype::f64 ? multiply(scaled.data<double>()) : multiply(scaled.data<float>());
  kernels::gemm({.c = sum, .a = scaled, .b = here(a), .accumulate = true});
  return base.dtype() == dtype ? sum : sum.to(base.dtype());
}

Tensor merged_weight(const Parameters& parameters, const Parameter& p) {
  const Tensor base = parameters.precise(p);
  for (const Parameters::Adapter& l : parameters.adapters())
    if (l.w == &p)
      return with_low_rank(base.to(accum_dtype(base.dtype())), parameters.precise(*l.a), parameters.precise(*l.b),
                           parameters.lora().scale());
  return base;
}

void write_adapter(const std::string& directory, const Parameters& parameters, bool alone, Dtype dtype) {
  const LoraOptions& lora = parameters.lora();
  std::vector<std::string> modules;
  std::vector<NamedTensor> tensors;
  const auto spelt = [&](const std::string& name) { return alone ? name_on_disk(name) : name; };
  for (const Parameters::Adapter& l : parameters.adapters()) {
    const std::string name = spelt(l.w->name);
    modules.push_back(name.substr(0, name.rfind('.')));
    for (const Parameter* p : {l.a, l.b})
      tensors.push_back(
          {"base_model.model." + spelt(p->name), parameters.precise(*p).to(written_dtype(parameters, dtype))});
  }
  const bool whole = lora.alpha == std::floor(lora.alpha);
  const Json config =
      Json::object({{"peft_type", "LORA"},
                    {"task_type", "CAUSAL_LM"},
                    {"base_model_name_or_path", Json()},
                    {"r", lora.rank},
                    {"lora_alpha", whole ? Json(static_cast<std::int64_t>(lora.alpha)) : Json(lora.alpha)},
                    {"lora_dropout", lora.dropout},
                    {"use_rslora", lora.rslora},
                    {"bias", "none"},
                    {"fan_in_fan_out", false},
                    {"init_lora_weights", true},
                    {"inference_mode", true},
                    {"modules_to_save", Json()},
                    {"target_modules", modules}});
  write_durably(directory + "/adapter_config.json", config.dump(2) + "\n");
  write_safetensors(directory + "/adapter_model.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace ov
