#include "model/files/hf_directory.h"

#include <algorithm>
#include <cstring>

#include "base/io/file.h"
#include "model/files/lora.h"
#include "nn/init.h"
#include "store/hf_names.h"

namespace ov {
namespace {

std::vector<std::string> code_of(const std::string& directory) {
  std::vector<std::string> names = list_directory(directory);
  std::erase_if(names, [](const std::string& name) { return !name.ends_with(".py"); });
  return names;
}

// `part`: this rank's of a file's tensor, of which it has the masters of some elements, or of none.
void copy_to_master(const Parameters& parameters, const Parameters::Entry& e, const std::string& where,
                    const Tensor& part) {
  const Parameters::Stretch master = parameters.master_of(e.parameter);
  if (!master.values) return;
  const bool all = master.values.numel() == e.shape.numel();
  const Tensor to = all ? master.values
                        : Tensor({e.shape.numel()}, master.values.dtype(), master.values.device(), Segment::workspace);
  copy_weight(where, e.parameter.name, part, e.blocks_of(to));
  if (!all) master.values.copy_from(to.slice(0, master.begin, master.begin + master.values.numel()));
}

void copy_weights(Parameters& parameters, const CheckpointReader& weights, bool lora,
                  const LoraAdapter* adapter = nullptr) {
  for (const auto& e : parameters.entries()) {
    const std::string& name = e.parameter.name;
    if (!parameters.holds(e) || (!lora && is_lora(e.parameter))) continue;
    const Tensor stored = weights.tensor(name);
    const Tensor t = adapter ? adapter->merged(name, stored, parameters.dtype() == Dtype::f64) : stored;
    const Tensor part = e.part_of(t, parameters.tensor().rank());
    copy_weight(weights.path(), name, part, e.blocks_of(e.parameter.value));
    copy_to_master(parameters, e, weights.path(), part);
  }
}

}  // namespace

Dtype written_dtype(const Parameters& parameters, Dtype dtype) {
  return dtype == Dtype::bf16 ? dtype : accum_dtype(parameters.dtype());
}

void check_weight(const std::string& where, const std::string& name, Dtype dtype) {
  if (dtype != Dtype::f64 && dtype != Dtype::f32 && dtype != Dtype::bf16)
    input_error(where, ": tensor '", name, "': holds ", name_of(dtype), ", expected floating-point numbers");
}

void copy_weight(const std::string& where, const std::string& name, const Tensor& from, const Tensor& to) {
  check_weight(where, name, from.dtype());
  to.copy_from(from.dtype() == to.dtype() ? from : from.to(to.dtype(), Segment::workspace));
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const Tensor x = a.to(cpu()), y = b.to(cpu());
  return std::memcmp(x.bytes(), y.bytes(), x.nbytes()) == 0;
}

Json read_config_json(const std::string& directory) {
  const std::string path = directory + "/config.json";
  if (!path_exists(path)) {
    if (path_exists(directory + "/model/config.json"))
      input_error(directory, ": holds a run; its model is ", directory, "/model");
    if (path_exists(directory + "/tower/config.json"))
      input_error(directory, ": holds a run; its tower is ", directory, "/tower");
    if (path_exists(directory + "/adapter_config.json"))
      input_error(directory, ": holds an adapter, and no model; checkpoint convert MODEL --adapter merges it");
    if (directory.ends_with(".json") || directory.ends_with(".safetensors"))
      input_error(directory, ": expected the model's directory, found a file of it");
  }
  const Json config = Json::read(path);
  if (!config.is_object()) input_error(path, ": expected an object, found ", kind_name(config.kind()));
  const Json* map = config.find("auto_map");
  if (!map || map->dump().find("--") != std::string::npos || !code_of(directory).empty()) return config;
  Json without = Json::object();
  for (const auto& [key, value] : config.members())
    if (key != "auto_map") without.set(key, value);
  return without;
}

bool is_whole_model(const std::string& directory) {
  if (directory.empty()) return false;
  const Json config = read_config_json(directory);
  return config.find("vision_config") && config.find("text_config");
}

void copy_code(const std::string& from, const std::string& to) {
  if (!is_whole_model(from)) return;
  for (const std::string& name : code_of(from)) write_durably(to + "/" + name, read_file(from + "/" + name));
}

ModelConfig read_model_config(const std::string& directory, const LoadOptions& options) {
  ModelConfig config = ModelConfig::read(read_config_json(directory), directory + "/config.json");
  config.use_reference(options.reference);
  config.hf_shift_bug = options.hf_shift_bug;
  if (options.pre_norm_eps > 0) config.vision.pre_norm_eps = options.pre_norm_eps;
  if (options.segments != "reference") config.per_frame = options.segments == "per_frame";
  if (options.merger_norm_eps > 0) config.vision.merger_norm_eps = options.merger_norm_eps;
  return config;
}

std::vector<NamedShape> expected_names(const Parameters& parameters, bool lora) {
  std::vector<NamedShape> names;
  for (const auto& e : parameters.entries())
    if (lora || !is_lora(e.parameter)) names.push_back({e.parameter.name, e.whole});
  return names;
}

void load_weights(Parameters& parameters, const CheckpointReader& weights) {
  weights.check_names(expected_names(parameters, true));
  copy_weights(parameters, weights, true);
}

std::vector<NamedShape> expected_names(const Onevision& model, const CheckpointReader& weights) {
  std::vector<NamedShape> names = expected_names(model.parameters());
  const TextConfig& text = model.config().text;
  if (text.tied && weights.has(head_name)) names.push_back({head_name, {text.vocabulary, text.hidden}});
  return names;
}

std::string tie_to_weights(TextConfig& text, const CheckpointReader& weights, const std::string& directory) {
  const bool both = weights.has(head_name) && weights.has(table_name);
  const bool differ = both && text.tied && !equal_bits(weights.tensor(head_name), weights.tensor(table_name));
  text.tied = text.tied || !weights.has(head_name);
  if (!differ) return "";
  return directory +
         "/config.json: text_config: tie_word_embeddings is true, but lm_head.weight in the weights is not "
         "the embedding; set it to false to use that head, or remove the tensor";
}

void load_masters(Onevision& model, const std::string& directory) {
  const Parameters& parameters = model.parameters();
  if (!parameters.masters()) return;
  const CheckpointReader weights = CheckpointReader::open(directory);
  weights.check_names(expected_names(model, weights));
  for (const auto& e : parameters.entries())
    if (!is_lora(e.parameter) && parameters.master_of(e.parameter).values)
      copy_to_master(parameters, e, weights.path(),
                     e.part_of(weights.tensor(e.parameter.name), parameters.tensor().rank()));
}

std::unique_ptr<Onevision> load_model(ModelConfig config, const std::string& directory, const LoadOptions& options) {
  const bool data = options.device->has_data();
  std::optional<CheckpointReader> weights;
  if (data) {
    weights = CheckpointReader::open(directory);
    if (const std::string fault = tie_to_weights(config.text, *weights, directory); !fault.empty()) input_error(fault);
  }
  auto model = std::make_unique<Onevision>(config, *options.tensor, *options.pipe, options.chunks, *options.experts);
  model->parameters().adapt(options.lora);
  if (data) weights->check_names(expected_names(*model, *weights));
  std::optional<LoraAdapter> adapter;
  if (data && !options.adapter.empty()) adapter = LoraAdapter::read(options.adapter), adapter->check(*weights);
  if (options.in_place && options.device->on_host()) {
    model->parameters().borrow(options.dtype, [&](const Parameters::Entry& e) {
      const std::string& name = e.parameter.name;
      const Tensor stored = weights->tensor(name);
      check_weight(weights->path(), name, stored.dtype());
      return adapter ? adapter->merged(name, stored, options.dtype == Dtype::f64) : stored;
    });
    return model;
  }
  model->parameters().allocate(options.dtype, *options.device);
  if (options.lora.rank > 0)
    initialize(model->parameters(), {}, options.lora.seed,
               [](const std::string& name) { return name.find(".lora_") != name.npos; });
  if (data) {
    copy_weights(model->parameters(), *weights, false, adapter ? &*adapter : nullptr);
    if (!options.lora.start.empty()) LoraAdapter::read(options.lora.start).copy_to(model->parameters());
  }
  return model;
}

void write_model(const std::string& directory, const Onevision& model, const std::vector<std::int64_t>& eos,
                 std::int64_t pad, bool untied_head, Dtype dtype, const WeightSource& weights) {
  ModelConfig config = model.config();
  const Parameters& parameters = model.parameters();
  const Dtype written = written_dtype(parameters, dtype);
  std::vector<TensorInfo> tensors;
  std::vector<const Parameter*> sources;
  const auto add = [&](const std::string& name, const Parameter& p) {
    tensors.push_back({name, written, p.value.shape()}), sources.push_back(&p);
  };
  for (const auto& e : parameters.entries())
    if (!is_lora(e.parameter)) add(e.parameter.name, e.parameter);
  if (untied_head && config.text.tied) {
    config.text.tied = false;
    add(head_name, *parameters.aliases().at(head_name));
  }
  Json json = config.json();
  json.set("torch_dtype", torch_name(written));
  write_durably(directory + "/config.json", json.dump(2) + "\n");
  const Json generation =
      Json::object({{"bos_token_id", pad}, {"do_sample", false}, {"eos_token_id", eos}, {"pad_token_id", pad}});
  write_durably(directory + "/generation_config.json", generation.dump(2) + "\n");
  const auto value = [&](std::size_t i) {
    return weights ? weights(*sources[i]) : merged_weight(parameters, *sources[i]);
  };
  write_checkpoint(directory, tensors, value, {.dtype = written});
}

}  // namespace ov
