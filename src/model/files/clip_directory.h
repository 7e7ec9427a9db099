// CLIP models in and out of Hugging Face directories: config.json and the weights under CLIPModel's names.
#pragma once
#include <memory>
#include <string>

#include "model/clip.h"

namespace ov {

bool is_clip(const std::string& directory);  // config.json says so

// Missing, extra and misshapen tensors are refused by name; position_ids of older files are the known extra.
std::unique_ptr<ClipModel> load_clip(const std::string& directory, Dtype dtype, Device& device = cpu());
// config.json and model*.safetensors into an existing directory. dtype: as write_model (model/files/hf_directory.h).
void write_clip(const std::string& directory, const ClipModel& model, Dtype dtype = Dtype::f32);

}  // namespace ov
