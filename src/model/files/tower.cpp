#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "model/files/hf_directory.h"
#include "model/files/merge_sources.h"
#include "model/region_head.h"

namespace ov {
namespace {

// The vision_config as a whole model's config.json has it, but for the width that a merger would have.
Json vision_json(const VisionConfig& vision) {
  ModelConfig whole;
  whole.vision = vision;
  const Json config = whole.json();
  Json out = Json::object();
  for (const auto& [key, value] : config.at("vision_config").members())
    if (key != "text_hidden_size") out.set(key, value);
  return out;
}

}  // namespace

void export_tower(const std::string& directory, const RiceModel& model, Dtype dtype) {
  DurableDirectory out(directory, "pretrain");
  const Json config = Json::object({{"model_type", "rice_vit"}, {"vision_config", vision_json(model.tower().config)}});
  write_durably(out.file("config.json"), config.dump(2) + "\n");
  std::vector<NamedTensor> tensors;
  for (const auto& e : model.parameters().entries())
    if (tower_part.has(e.parameter.name))
      tensors.push_back({e.parameter.name, model.parameters().precise(e.parameter)});
  write_checkpoint(out.path(), tensors, {.dtype = written_dtype(model.parameters(), dtype)});
  out.commit();
}

}  // namespace ov
