#include "model/files/hf_directory.h"

#include "base/io/file.h"

namespace ov {

ModelConfig read_model_config(const std::string& directory, const LoadOptions& options) {
  const std::string path = directory + "/config.json";
  ModelConfig config = ModelConfig::read(Json::read(path), path);
  config.use_reference(options.reference);
  config.hf_shift_bug = options.hf_shift_bug;
  if (options.pre_norm_eps > 0) config.vision.pre_norm_eps = options.pre_norm_eps;
  if (options.merger_norm_eps > 0) config.vision.merger_norm_eps = options.merger_norm_eps;
  return config;
}

std::vector<NamedShape> expected_names(const Parameters& parameters) {
  std::vector<NamedShape> names;
  for (const auto& e : parameters.entries()) names.push_back({e.parameter.name, e.shape});
  return names;
}

void load_weights(Parameters& parameters, const CheckpointReader& weights) {
  weights.check_names(expected_names(parameters));
  for (const auto& e : parameters.entries()) {
    const Tensor t = weights.tensor(e.parameter.name);
    e.parameter.value.copy_from(t.dtype() == e.parameter.value.dtype() ? t : t.to(e.parameter.value.dtype()));
  }
}

std::unique_ptr<Onevision> load_model(const std::string& directory, const LoadOptions& options) {
  ModelConfig config = read_model_config(directory, options);
  const bool data = options.device->has_data();
  std::optional<CheckpointReader> weights;
  if (data) {
    weights = CheckpointReader::open(directory);
    config.text.tied = !weights->has("lm_head.weight");
  }
  auto model = std::make_unique<Onevision>(config);
  model->parameters().allocate(options.dtype, *options.device);
  if (data) load_weights(*model, *weights);
  return model;
}

void write_model(const std::string& directory, const Onevision& model, const std::vector<std::int64_t>& eos,
                 std::int64_t pad) {
  write_durably(directory + "/config.json", model.config().json().dump(2) + "\n");
  const Json generation =
      Json::object({{"bos_token_id", pad}, {"do_sample", false}, {"eos_token_id", eos}, {"pad_token_id", pad}});
  write_durably(directory + "/generation_config.json", generation.dump(2) + "\n");
  std::vector<NamedTensor> tensors;
  for (const auto& e : model.parameters().entries()) tensors.push_back({e.parameter.name, e.parameter.value});
  write_checkpoint(directory, tensors);
}

}  // namespace ov
