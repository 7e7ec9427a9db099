#include "model/files/clip_directory.h"

#include "base/io/file.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"

namespace ov {

bool is_clip(const std::string& directory) {
  const Json config = read_config_json(directory);
  const Json* type = config.find("model_type");
  return type && type->is_string() && type->as_string() == "clip";
}

std::unique_ptr<ClipModel> load_clip(const std::string& directory, Dtype dtype, Device& device) {
  auto model = std::make_unique<ClipModel>(ClipConfig::read(read_config_json(directory), directory + "/config.json"));
  model->parameters().allocate(dtype, device);
  if (device.has_data()) load_weights(model->parameters(), CheckpointReader::open(directory));
  return model;
}

void write_clip(const std::string& directory, const ClipModel& model, Dtype dtype) {
  const Parameters& parameters = model.parameters();
  const Dtype written = written_dtype(parameters, dtype);
  Json config = model.config().json();
  config.set("torch_dtype", torch_name(written));
  write_durably(directory + "/config.json", config.dump(2) + "\n");
  std::vector<NamedTensor> tensors;
  for (const auto& e : parameters.entries()) tensors.push_back({e.parameter.name, parameters.precise(e.parameter)});
  write_checkpoint(directory, tensors, {.dtype = written});
}

}  // namespace ov
