#include "store/hf_names.h"

#include <string_view>

namespace ov {
namespace {

struct NameRule {
  std::string_view on_disk, in_memory;  // prefixes; the first rule that matches is used
  bool written;                         // the spelling we save; the others are only read
};

constexpr NameRule rules[] = {
    {"visual.merger.linear_fc1.", "model.visual.merger.mlp.0.", false},
    {"visual.merger.linear_fc2.", "model.visual.merger.mlp.2.", false},
    {"model.visual.merger.linear_fc1.", "model.visual.merger.mlp.0.", false},
    {"model.visual.merger.linear_fc2.", "model.visual.merger.mlp.2.", false},
    {"model.visual.", "model.visual.", false},
    {"model.language_model.", "model.language_model.", false},
    {"visual.", "model.visual.", true},
    {"model.", "model.language_model.", true},
};

}  // namespace

std::string name_in_memory(const std::string& on_disk) {
  if (on_disk.ends_with(".inv_freq") || on_disk == "text_model.embeddings.position_ids" ||
      on_disk == "vision_model.embeddings.position_ids")
    return "";
  for (const NameRule& rule : rules)
    if (on_disk.starts_with(rule.on_disk)) return std::string(rule.in_memory) + on_disk.substr(rule.on_disk.size());
  return on_disk;
}

std::string name_on_disk(const std::string& in_memory) {
  for (const NameRule& rule : rules)
    if (rule.written && in_memory.starts_with(rule.in_memory))
      return std::string(rule.on_disk) + in_memory.substr(rule.in_memory.size());
  return in_memory;
}

const char* torch_name(Dtype dtype) {
  return dtype == Dtype::bf16 ? "bfloat16" : dtype == Dtype::f64 ? "float64" : "float32";
}

}  // namespace ov
