#include "model/files/merge_sources.h"

#include <array>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "model/files/hf_directory.h"
#include "store/hf_names.h"

namespace ov {
namespace {

bool of_tower(const std::string& name) {
  return name.starts_with("model.visual.") && !name.starts_with("model.visual.merger.");
}
bool of_language(const std::string& name) { return name.starts_with("model.language_model.") || name == head_name; }

// The renaming of RICE-ViT's released file (MLCD's names), in this order.
std::string from_mlcd(std::string name) {
  constexpr std::pair<std::string_view, std::string_view> rules[] = {
      {"vision_model.", "model.visual."},
      {"model.visual.embeddings.", "model.visual."},
      {"model.visual.patch_embedding.", "model.visual.patch_embed.proj."},
      {"model.visual.encoder.layers.", "model.visual.blocks."},
      {"model.visual.pre_layrnorm", "model.visual.pre_layernorm"},  // spelt so in the file
      {".layer_norm", ".norm"},
      {".self_attn.out_proj.", ".attn.proj."},
  };
  for (const auto& [from, to] : rules)
    if (const auto at = name.find(from); at != name.npos) name.replace(at, from.size(), to);
  return name;
}

// The rows of q, of k, of v, one below the other.
Tensor stacked(const std::array<Tensor, 3>& parts) {
  Shape shape = parts[0].shape();
  shape[0] *= 3;
  const Tensor out(shape, parts[0].dtype(), cpu(), Segment::weights);
  for (std::int64_t i = 0; i < 3; ++i)
    out.slice(0, i * parts[0].dim(0), (i + 1) * parts[0].dim(0)).copy_from(parts[static_cast<std::size_t>(i)]);
  return out;
}

void read_mlcd(const CheckpointReader& file, std::map<std::string, Tensor>& out) {
  for (const auto& e : file.entries()) {
    if (!e.name.starts_with("vision_model.") || e.name.starts_with("vision_model.post_layernorm.")) continue;
    const std::string name = from_mlcd(e.name);
    const auto at = name.find(".self_attn.");
    if (at == name.npos) {
      out[name] = file.tensor(e.name);
      continue;
    }
    const std::string projection = name.substr(at + 11);  // "q_proj.weight"
    if (!projection.starts_with("q_proj.") && !projection.starts_with("k_proj.") && !projection.starts_with("v_proj."))
      input_error(file.path(), ": tensor '", e.on_disk, "' is not part of a tower");
    const std::string kind = projection.substr(7), before = e.name.substr(0, e.name.find(".self_attn.") + 11);
    const std::string fused = name.substr(0, at) + ".attn.qkv." + kind;
    if (out.count(fused)) continue;
    const std::array<Tensor, 3> parts = {file.tensor(before + "q_proj." + kind), file.tensor(before + "k_proj." + kind),
                                         file.tensor(before + "v_proj." + kind)};
    for (const Tensor& p : parts)
      if (p.shape() != parts[0].shape() || p.dtype() != parts[0].dtype())
        input_error(file.path(), ": tensors '", before, "{q,k,v}_proj.", kind,
                    "' differ in shape or type; they become one product");
    out[fused] = stacked(parts);
  }
}

// `config` itself, or its member `key` where it has one.
Json part_of(const Json& config, const char* key) {
  const Json* part = config.find(key);
  return part && part->is_object() ? *part : config;
}

}  // namespace

const MergePart tower_part{of_tower, "tower"}, language_part{of_language, "language model"};

MergeSource MergeSource::tower(const std::string& directory) {
  MergeSource source(directory, tower_part);
  const CheckpointReader file = CheckpointReader::open(directory);
  for (const auto& e : file.entries())
    if (of_tower(e.name)) source.tensors_[e.name] = file.tensor(e.name);
  if (source.tensors_.empty()) read_mlcd(file, source.tensors_);
  if (source.tensors_.empty())
    input_error(directory, ": holds no tower: no tensor is called visual.* or vision_model.*");
  return source;
}

MergeSource MergeSource::language(const std::string& directory) {
  MergeSource source(directory, language_part);
  const CheckpointReader file = CheckpointReader::open(directory);
  for (const auto& e : file.entries())
    if (of_language(e.name)) source.tensors_[e.name] = file.tensor(e.name);
  if (source.tensors_.empty()) input_error(directory, ": holds no language model: no tensor is called model.*");
  if (source.has(head_name) && read_language_source_config(directory).tied) source.expect_tied_head();
  return source;
}

void MergeSource::expect_tied_head() const {
  const auto found = tensors_.find(table_name);
  if (found == tensors_.end()) return;  // load() names it
  if (!equal_bits(tensors_.at(head_name), found->second))
    input_error(directory_, ": lm_head.weight is not the embedding, so the head cannot be tied to it");
}

void MergeSource::load(Parameters& parameters) const {
  std::map<std::string, Tensor> rest = tensors_;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  for (const auto& e : parameters.entries()) {
    const std::string& name = e.parameter.name;
    if (!part_->has(name)) continue;
    const std::string& from = name == head_name && !has(head_name) ? table_name : name;
    const auto found = tensors_.find(from);
    if (found == tensors_.end())
      input_error(directory_, ": tensor '", from, "' of the ", part_->name, " is missing", did_you_mean(from, names));
    const Tensor& t = found->second;
    if (t.shape() != e.shape)
      input_error(directory_, ": tensor '", from, "' of the ", part_->name, ": its config.json asks for shape ",
                  e.shape.str(), ", found ", t.shape().str());
    copy_weight(directory_, from, t, e.parameter.value);
    rest.erase(name);
  }
  // A tied model has no place for a head, which then must be the embedding.
  if (rest.erase(head_name)) expect_tied_head();
  if (!rest.empty())
    input_error(directory_, ": tensor '", rest.begin()->first, "' is not part of the ", part_->name,
                " that its config.json describes");
}

VisionConfig read_tower_source_config(const std::string& directory, std::int64_t merge) {
  const Json config = read_config_json(directory);
  Json vision = part_of(config, "vision_config");
  const auto has = [&](const char* ours, const char* mlcds) { return vision.find(ours) || vision.find(mlcds); };
  if (!has("depth", "num_hidden_layers") || !has("num_heads", "num_attention_heads") || vision.find("vocab_size"))
    input_error(directory,
                "/config.json: describes no tower: expected depth and num_heads, or num_hidden_layers and "
                "num_attention_heads, and no vocab_size");
  if (!vision.find("spatial_merge_size")) vision.set("spatial_merge_size", merge);
  return read_vision_config(vision,
                            directory + "/config.json" + (config.find("vision_config") ? ": vision_config" : ""));
}

TextConfig read_language_source_config(const std::string& directory) {
  const Json config = read_config_json(directory), text = part_of(config, "text_config");
  if (!text.find("vocab_size") || !text.find("num_hidden_layers"))
    input_error(directory, "/config.json: describes no language model: vocab_size and num_hidden_layers are missing");
  return read_text_config(config, directory + "/config.json");
}

Json merged_source_config(const std::string& tower, const std::string& language) {
  Json out = Json::object();
  for (const auto& [directory, part] : {std::pair{tower, "vision_config"}, std::pair{language, "text_config"}}) {
    if (!is_whole_model(directory)) continue;
    const Json config = read_config_json(directory);
    for (const auto& [key, value] : config.members())
      if (key == part || (key != "vision_config" && key != "text_config")) out.set(key, value);
  }
  return out;
}

}  // namespace ov
